"""`python -m caselli` is the command `caselli`."""

import sys

from caselli.cli import main

if __name__ == "__main__":
    sys.exit(main())
