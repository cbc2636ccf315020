"""The options of drawing that commands share; one for each field of `caselli.sampling.Sampling`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

OPTIONS: dict[str, tuple[type, str]] = {
    "temperature": (float, "1 as learned, 0 the likeliest (1)"),
    "top_k": (int, "only the k likeliest codes (0: all)"),
    "top_p": (float, "only the likeliest codes that together hold p (1: all)"),
    "min_p": (float, "only codes with this share of the likeliest one's probability (0: all)"),
    "guidance": (float, "strength of label, caption or picture: 1 as learned, 2 to 4 clearer (1)"),
    "guidance_schedule": (str, "constant, linear or cosine growth along the sequence (constant)"),
    "guidance_from": (float, "share of the sequence at which guidance begins (0)"),
    "guidance_to": (float, "share of the sequence at which guidance ends (1)"),
    "steps": (int, "rounds of a masked prior (0: as many as it was built for)"),
    "mask_schedule": (str, "what a masked prior leaves to later rounds: cosine, linear, ... (cosine)"),
    "choice_temperature": (float, "noise in a masked prior's choice of codes to keep, inf: any (4.5)"),
}
"""Field → its type and its line of help."""


def add_sampling(into: argparse.ArgumentParser) -> None:
    """An option for each field; those that are not given are left to the record."""
    for name, (kind, line) in OPTIONS.items():
        into.add_argument("--" + name.replace("_", "-"), type=kind, default=argparse.SUPPRESS, help=line)


def add_text(into: argparse.ArgumentParser) -> None:
    """The --text argument."""
    line = "a caption, for a run trained with captions; given several times, they are taken in turn"
    into.add_argument("--text", metavar="CAPTION", action="append", help=line)


def add_engine(into: argparse.ArgumentParser) -> None:
    """The --precision argument."""
    line = "of the weights while sampling: float32, bfloat16 or int8 (that in which they are stored)"
    into.add_argument("--precision", help=line)


def engine_for(model: Any, precision: str | None) -> Any:
    """The fastest engine for a model's prior, timed; says why where that is not the fused step."""
    from caselli import ranks
    from caselli.sampling import Timed, best_engine

    engine, why = best_engine(model.require_prior(), precision)
    if why and ranks.is_first():
        print(f"sampling {engine.name}: {why}", file=sys.stderr)
    return Timed(engine)


def say_pace(engine: Any) -> None:
    """Tokens per second, and on the CPU the share of the memory's read rate."""
    print(engine.pace(), file=sys.stderr)


def sampling(given: argparse.Namespace) -> Any:
    """The record; `UserError` for a value out of range."""
    from caselli.sampling import Sampling

    return Sampling(**{name: getattr(given, name) for name in OPTIONS if hasattr(given, name)})
