"""`caselli list ROOM`."""

from __future__ import annotations

import importlib
import inspect

from caselli.cli.parser import parser
from caselli.errors import UnknownName

ROOMS = {
    "data": ("caselli.data", "SOURCES"),
    "quantizer": ("caselli.quantizer", "QUANTIZERS"),
    "architecture": ("caselli.tokenizer", "ARCHITECTURES"),
    "importer": ("caselli.interop", "IMPORTERS"),
    "order": ("caselli.order", "ORDERS"),
    "mixer": ("caselli.mixer", "MIXERS"),
    "prior": ("caselli.prior", "PRIORS"),
    "vocabulary": ("caselli.prior", "VOCABULARIES"),
    "estimator": ("caselli.estimator", "ESTIMATORS"),
    "divergence": ("caselli.divergence", "DIVERGENCES"),
    "family": ("caselli.family", "FAMILIES"),
    "upsampler": ("caselli.layer.resample", "UPSAMPLERS"),
    "downsampler": ("caselli.layer.resample", "DOWNSAMPLERS"),
    "discriminator": ("caselli.layer", "DISCRIMINATORS"),
    "task": ("caselli.evaluate", "TASKS"),
    "network": ("caselli.zoo", "ZOO"),
    "recipe": ("caselli.run", "RECIPES"),
}
"""The rooms that have a table, and where it is."""


def run(arguments: list[str]) -> None:
    """Parses, prints a table: names, and the first sentence of each docstring."""
    options = parser("list", "Shows what a room offers.")
    options.add_argument("room", metavar="ROOM", nargs="?", help=", ".join(ROOMS))
    room = options.parse_args(arguments).room
    if room is None:
        print("\n".join(ROOMS))
        return
    if room not in ROOMS:
        raise UnknownName("room", room, ROOMS)
    module, table = ROOMS[room]
    entries = getattr(importlib.import_module(module), table)
    width = max(map(len, entries))
    for name, entry in entries.items():
        line = (inspect.getdoc(getattr(entry, "func", entry)) or "").split("\n\n")[0].replace("\n", " ")
        print(f"{name:<{width}}  {line}")
