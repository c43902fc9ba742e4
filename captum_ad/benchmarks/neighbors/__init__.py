"""What the metrics and attributors of neighboring work say of AD and of paint: the tables of tutorials/neighbors.md.

    python -m captum_ad.benchmarks.neighbors STUDY PHOTOGRAPH ... [--labels FILE] [--model MODEL] [--csv FILE]

Every study measures some numbers on each photograph, by method and masking; the table has their means with 95 %
bootstrap intervals over photographs, and the paired difference from the best paint.
"""

from captum_ad.benchmarks.neighbors.command import main
from captum_ad.benchmarks.neighbors.measuring import Case, Found, Study, measure
from captum_ad.benchmarks.neighbors.table import markdown

__all__ = ["Case", "Found", "Study", "main", "markdown", "measure"]
