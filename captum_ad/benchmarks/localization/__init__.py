"""Under which masking do attributions find what the network sees? The grid pointing game on collages.

    python -m captum_ad.benchmarks.localization PHOTOGRAPH ... [--model MODEL] [--labels FILE] [--csv FILE]

Collages are made of photographs that the network is confident about, one class per cell. Only collages in which it is
still confident in one of the classes count. That class is explained by every method under every masking. The score is
the share of the positive attribution that lies in its cell (Rao et al. 2022); chance is one over the number of cells.
"""

from captum_ad.benchmarks.localization.command import main
from captum_ad.benchmarks.localization.measuring import localize
from captum_ad.benchmarks.localization.table import markdown

__all__ = ["localize", "main", "markdown"]
