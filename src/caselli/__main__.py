"""`python -m caselli` is the command `caselli`."""

import io
import sys

from caselli.cli import main
from caselli.cli.pages import keep_pages


def process() -> int:
    """The command in a process of its own."""
    keep_pages()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may know fewer letters than we write
            stream.reconfigure(errors="backslashreplace")
    return main()


if __name__ == "__main__":
    sys.exit(process())
