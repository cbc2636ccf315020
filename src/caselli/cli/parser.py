"""Arguments that commands share, and a parser whose mistakes are `UserError`s."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from caselli.errors import UserError


class Parser(argparse.ArgumentParser):
    """argparse, with one line and no usage for a mistake."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message, remedy=f"see `{self.prog} --help`")


def parser(command: str, description: str) -> Parser:
    """The parser of `caselli COMMAND`."""
    return Parser(prog=f"caselli {command}", description=description, allow_abbrev=False)


def add_run(into: argparse.ArgumentParser) -> None:
    """The RUN argument."""
    into.add_argument("run", metavar="RUN", help="a run folder, as `caselli train` makes it")


def add_out(into: argparse.ArgumentParser, what: str) -> None:
    """The -o and --overwrite arguments."""
    into.add_argument("-o", "--out", required=True, metavar="OUT", help=what)
    into.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")


def free(out: str, overwrite: bool) -> Path:
    """The path to write to; `UserError` if something is there and nobody said to replace it."""
    path = Path(out)
    taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
    if taken and not overwrite:
        raise UserError(f"{out} exists already", "a new file or folder was expected", "or add --overwrite")
    return path


def is_picture(path: Path) -> bool:
    """Whether the output is one picture file rather than a folder."""
    return path.suffix.lower() == ".png"
