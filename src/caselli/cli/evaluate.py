"""`caselli evaluate RUN SOURCE [--json]`."""

from __future__ import annotations

import dataclasses
import json

from caselli.cli.parser import add_run, parser


def run(arguments: list[str]) -> None:
    """Parses, evaluates on held-out pictures, prints."""
    options = parser("evaluate", "Measures reconstruction, codebook use and likelihood on held-out pictures.")
    add_run(options)
    options.add_argument("source", metavar="SOURCE", help="pictures: a set, a folder, an archive")
    options.add_argument("--split", default="held_out", help="train, held_out or all (held_out)")
    options.add_argument("--json", action="store_true", help="print one JSON object")
    given = options.parse_args(arguments)

    from caselli.cli.pictures import source_for
    from caselli.evaluate.model import evaluate_model
    from caselli.model import load

    model = load(given.run)
    figures = dataclasses.asdict(evaluate_model(model, source_for(model, given.source, given.split)))
    del figures["code_counts"]
    if given.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        shown = "none" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
        print(f"{name.replace('_', ' '):<28} {shown:>12}")
