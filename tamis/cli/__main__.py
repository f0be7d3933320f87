"""``python -m tamis.cli``: the command line without its installed script."""

import sys

from tamis.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
