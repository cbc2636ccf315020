"""`caselli slim RUN -o RUN2 --quantise int8 | --prune 0.5 | --distil-to "[mamba2, mamba2]"`."""

from __future__ import annotations

import argparse
from typing import Any

from caselli.cli.parser import add_run, parser
from caselli.errors import UserError

OPTIONS: dict[str, tuple[type, str]] = {
    "quantise": (str, "weights as integers: int8 or int4"),
    "activations": (str, "int8: linear layers round their inputs too, and multiply integers"),
    "prune": (float, "share to take out, such as 0.5"),
    "structure": (
        str,
        "of what: heads, channels, layers, weights or 2:4; several with commas (heads,channels)",
    ),
    "distil-to": (str, 'mixers of a small prior\'s layers, such as "[mamba2, mamba2]"'),
    "distil-decoder": (float, "share of its channels that a small decoder has, such as 0.5"),
    "stage": (str, "prior, tokenizer or both (both to quantise, prior to prune)"),
    "width": (int, "of the small prior (the large one's)"),
    "minutes": (float, "training to recover or to distil, in minutes"),
    "steps": (int, "the same, in steps"),
    "batch": (int, "samples of a step (the run's own)"),
    "learning-rate": (float, "peak (the run's own to distil, a third of it to recover)"),
    "temperature": (float, "of the distributions that are compared in distilling (1)"),
    "data": (float, "share of the data's own likelihood in distilling (0.1)"),
    "transfer": (float, "share of the budget in which layers learn from layers, before the logits (0.3)"),
}
"""Option → its type and its line of help; each is a field of `caselli.run.SlimConfig`."""


def run(arguments: list[str]) -> None:
    """Parses, makes the run smaller, prints both runs side by side."""
    options = parser("slim", "Makes a run smaller, as a run of its own.")
    add_run(options)
    options.add_argument("source", metavar="SOURCE", nargs="?", help="the pictures (where the run had them)")
    options.add_argument("-o", "--out", required=True, metavar="RUN2", help="the new run's folder")
    options.add_argument("--resume", action="store_true", help="go on with a training that was interrupted")
    options.add_argument(
        "--from-scratch", action="store_true", help="train the small prior without the large"
    )
    for name, (kind, line) in OPTIONS.items():
        options.add_argument(f"--{name}", type=kind, default=argparse.SUPPRESS, help=line)
    given = options.parse_args(arguments)

    from caselli import ranks
    from caselli.cli.family import is_family
    from caselli.engine import Interrupted
    from caselli.run import SlimConfig, slim

    config = SlimConfig(from_scratch=given.from_scratch, **_fields(given))
    if is_family(given.run):
        raise UserError(
            f"{given.run} is a run of one stage", "a run with a tokenizer was expected", "see `caselli train`"
        )
    try:
        folder = slim(given.run, given.out, config, given.source, resume=given.resume)
    except Interrupted as error:
        raise KeyboardInterrupt(f"{error}; go on with the same command and --resume") from None
    finally:
        ranks.stop()
    _say(folder)


def _fields(given: argparse.Namespace) -> dict[str, Any]:
    names = [name.replace("-", "_") for name in OPTIONS]
    fields = {name: getattr(given, name) for name in names if hasattr(given, name)}
    for name in ("structure", "distil_to"):
        if name in fields:
            words = fields[name].strip("[] ").split(",")
            fields[name] = tuple(word.strip() for word in words if word.strip())
    return fields


def _say(folder: Any) -> None:
    """Both runs' figures, and how the new one's compare."""
    from caselli.report.slim import comparison
    from caselli.run import RunFolder

    for cells in comparison(RunFolder(folder).results().get("slim", {})):
        print(f"{cells[0]:<40} {cells[1]:>14} {cells[2]:>14} {cells[3]:>8}")
