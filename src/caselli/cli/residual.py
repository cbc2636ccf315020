"""`caselli residual RUN SOURCE`."""

from __future__ import annotations

import sys
from pathlib import Path

from caselli.cli.parser import add_run, parser
from caselli.errors import UserError


def run(arguments: list[str]) -> None:
    """Parses, learns, writes `residual.safetensors` into the run."""
    options = parser(
        "residual",
        "Learns what `caselli compress --kind exact` codes beside the codes: a small network of what the "
        "tokenizer leaves out. It is kept in the run.",
    )
    add_run(options)
    options.add_argument("source", metavar="SOURCE", help="pictures: what the run was trained on")
    options.add_argument("--minutes", type=float, default=2.0, help="of learning (2)")
    options.add_argument("--steps", type=int, help="of learning, instead of minutes")
    options.add_argument("--width", type=int, default=48, help="of the network (48)")
    options.add_argument("--seed", type=int, default=0, help="of everything random (0)")
    options.add_argument("--resume", action="store_true", help="go on learning with the run's residual model")
    options.add_argument("--overwrite", action="store_true", help="replace the run's residual model")
    given = options.parse_args(arguments)
    folder = Path(given.run)
    if (folder / "residual.json").exists() and not (given.overwrite or given.resume):
        raise UserError(
            f"{folder} has a residual model already",
            remedy="add --resume to go on with it, or --overwrite to learn it anew",
        )
    if given.width < 1:
        raise UserError(f"width {given.width} was given", "at least 1 was expected")

    from caselli.cli.pictures import source_for
    from caselli.codec import learn_residual, load_residual, save_residual
    from caselli.model import load

    model = load(folder)
    learnt = learn_residual(
        model,
        source_for(model, given.source, "train"),
        seconds=60 * given.minutes,
        steps=given.steps,
        width=given.width,
        start=load_residual(folder, model.tokenizer.fingerprint()) if given.resume else None,
        seed=given.seed,
        say=lambda words: print(words, file=sys.stderr),
    )
    save_residual(learnt, folder, model.tokenizer.fingerprint())
    size = (folder / "residual.safetensors").stat().st_size
    print(f"{sum(p.numel() for p in learnt.parameters())} parameters, {size} bytes in {folder}")
