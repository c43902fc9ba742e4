"""Metrics and attributors of neighboring work, under AD and under baselines: the tables of tutorials/neighbors.md.

    python -m captum_ad.benchmarks.neighbors STUDY PHOTOGRAPH ... [--labels FILE] [--model MODEL] [--csv FILE]

Every study measures some quantities on each photograph, per method and masking. The table has their means with 95 %
bootstrap intervals over photographs, and the paired difference from the best baseline.
"""

from captum_ad.benchmarks.neighbors.command import main
from captum_ad.benchmarks.neighbors.measuring import Case, Found, Study, measure
from captum_ad.benchmarks.neighbors.table import markdown

__all__ = ["Case", "Found", "Study", "main", "markdown", "measure"]
