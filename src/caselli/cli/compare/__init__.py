"""`caselli compare WHAT ...`: methods side by side, a table and a picture."""

from __future__ import annotations

import importlib

from caselli.errors import UnknownName

COMPARISONS = {
    "estimators": "bias, variance, direction and cost of gradient estimators",
}
"""What can be compared, with its line of help; the module of the same name has `run(arguments)`."""


def run(arguments: list[str]) -> None:
    """Hands over to what is compared."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return
    if arguments[0] not in COMPARISONS:
        raise UnknownName("comparison", arguments[0], COMPARISONS)
    importlib.import_module(f"caselli.cli.compare.{arguments[0]}").run(arguments[1:])


def _help() -> str:
    width = max(map(len, COMPARISONS))
    lines = [f"  {name:<{width}}  {line}" for name, line in COMPARISONS.items()]
    return "\n".join(["usage: caselli compare WHAT ...", "", *lines])
