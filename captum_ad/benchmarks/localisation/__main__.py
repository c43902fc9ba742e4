"""``python -m captum_ad.benchmarks.localisation``."""

import sys

from captum_ad.benchmarks.localisation.command import main

if __name__ == "__main__":
    sys.exit(main())
