"""`python -m caselli` is the command `caselli`."""

import sys

from caselli.cli import main

sys.exit(main())
