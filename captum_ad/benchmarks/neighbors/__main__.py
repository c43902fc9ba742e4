"""``python -m captum_ad.benchmarks.neighbors``."""

import sys

from captum_ad.benchmarks.neighbors.command import main

if __name__ == "__main__":
    sys.exit(main())
