"""``python -m captum_ad.study`` is ``captum-ad study``, in a form that torchrun can start in several processes."""

import sys

from captum_ad.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["study", *sys.argv[1:]]))
