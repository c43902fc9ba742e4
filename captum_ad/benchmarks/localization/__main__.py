"""``python -m captum_ad.benchmarks.localization``."""

import sys

from captum_ad.benchmarks.localization.command import main

if __name__ == "__main__":
    sys.exit(main())
