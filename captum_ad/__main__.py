"""``python -m captum_ad``: the command line, also where its script is not on the path."""

import sys

from captum_ad.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
