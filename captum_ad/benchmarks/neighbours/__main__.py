"""``python -m captum_ad.benchmarks.neighbours``."""

import sys

from captum_ad.benchmarks.neighbours.command import main

if __name__ == "__main__":
    sys.exit(main())
