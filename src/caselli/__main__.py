"""`python -m caselli` is the command `caselli`."""

import sys

from caselli.cli import main
from caselli.cli.pages import keep_pages


def process() -> int:
    """The command in a process of its own."""
    keep_pages()
    return main()


if __name__ == "__main__":
    sys.exit(process())
