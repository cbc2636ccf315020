"""The likely next command, which every command ends with."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

START = "caselli demo"
"""The command for someone who has done nothing yet."""
OWN = "own"
"""Stands for the first of the commands that the run in OUT can go on with, as its report lists them."""
NEXT: dict[str, str] = {
    "demo": "caselli studio {out}",
    "plan": "caselli train {source} -o run --recipe {recipe}",
    "train": OWN,
    "tune": "caselli sample {out} -n 16 -o samples.png",
    "sample": "caselli variations {run} PICTURE -n 8 -o near.png",
    "complete": "caselli interpolate {run} FIRST LAST -n 8 -o way.png",
    "upscale": "caselli evaluate {run} PICTURES --upscaling",
    "variations": "caselli interpolate {run} {picture} PICTURE -n 8 -o way.png",
    "interpolate": "caselli variations {run} {first} -n 8 -o near.png",
    "reconstruct": "caselli evaluate {run} PICTURES",
    "refine": "caselli sample {run} -n 16 -o samples.png",
    "guide": "caselli sample {run} -n 16 -o samples.png",
    "slim": "caselli evaluate {out} PICTURES",
    "import": "caselli reconstruct {out} PICTURES -o pairs.png",
    "export": "caselli inspect {run} -o page.html",
    "push": "caselli evaluate {run} PICTURES",
    "encode": "caselli evaluate {run} {source}",
    "decode": "caselli evaluate {run} PICTURES",
    "residual": "caselli compress {run} PICTURES --kind exact -o packed",
    "compress": "caselli decompress {run} {out} -o back",
    "decompress": "caselli compare codecs PICTURES {run} -o codecs",
    "segment": "caselli evaluate {run} PICTURES",
    "score": "caselli evaluate {run} {source}",
    "evaluate": "caselli inspect {run} -o page.html",
    "compare": "caselli compare",
    "inspect": "caselli list",
    "studio": "caselli train PICTURES -o run --size 64 --minutes 10",
    "list": "caselli train PICTURES -o run --size 64 --minutes 10",
    "completion": "",
}
"""Command → the one that is likely to follow. A name in braces stands for what was typed, capitals for words
that are to be typed; empty for a command whose output is for a file."""


def advise(name: str, values: Mapping[str, Any]) -> None:
    """Says on standard error what is likely to come next: under torchrun, on the first rank.

    Arguments:
        name: the command that is done.
        values: its arguments, by name.
    """
    line = next_command(name, values)
    if line and os.environ.get("RANK", "0") == "0":
        print(f"next: {line}", file=sys.stderr)


def next_command(name: str, values: Mapping[str, Any]) -> str:
    """The command line that is likely to follow a command; empty where none is.

    Example:
        >>> next_command("score", {"run": "my run", "source": "glyphs"})
        "caselli evaluate 'my run' glyphs"
    """
    line = NEXT.get(name, "")
    if line == OWN:
        from caselli.report import go_on, read_run

        lines = go_on(read_run(Path(values["out"])))
        return lines[0][1] if lines else ""
    return line.format(**{key: shlex.quote(str(value)) for key, value in values.items()})
