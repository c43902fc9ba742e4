"""``python -m captum_ad.benchmarks.scenes``."""

import sys

from captum_ad.benchmarks.scenes.command import main

if __name__ == "__main__":
    sys.exit(main())
