"""`caselli residual RUN SOURCE`."""

from __future__ import annotations

import sys
from pathlib import Path

from caselli.errors import UserError


def command(
    run: str,
    source: str,
    *,
    minutes: float = 2.0,
    steps: int | None = None,
    width: int | None = None,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Trains the residual model of a run, which `caselli compress --kind exact` codes pixels with.

    It is a small network that predicts what the tokenizer leaves out, and is kept in the run.

    Arguments:
        source: pictures, those that the run was trained on.
        minutes: wall-clock budget of the training.
        steps: training steps, instead of minutes.
        width: channels of the network (48, or those of the model that is gone on with).
        seed: seed of the initial weights and of the order of the pictures.
        resume: go on training the run's residual model.
        overwrite: replace the run's residual model.
    """
    folder = Path(run)
    if (folder / "residual.json").exists() and not (overwrite or resume):
        raise UserError(
            f"{folder} has a residual model already",
            remedy="add --resume to go on with it, or --overwrite to learn it anew",
        )
    if width is not None and width < 1:
        raise UserError(f"width {width} was given", "at least 1 was expected")

    from caselli.cli.pictures import source_for
    from caselli.codec import learn_residual, load_residual, save_residual
    from caselli.engine import on_device
    from caselli.files import alone
    from caselli.model import load

    model = on_device(load(folder))
    start = load_residual(folder, model.tokenizer.digest()) if resume else None
    if start is not None and width not in (None, start.config.width):
        raise UserError(
            f"--width {width} was given to a model that was begun with {start.config.width}",
            "a resumed model keeps its width",
            "leave it out, or add --overwrite instead of --resume",
        )
    with alone(folder):
        learnt = learn_residual(
            model,
            source_for(model, source, "train"),
            seconds=60 * minutes,
            steps=steps,
            width=width or 48,
            start=start,
            seed=seed,
            say=lambda words: print(words, file=sys.stderr),
        )
        save_residual(learnt, folder, model.tokenizer.digest())
    size = (folder / "residual.safetensors").stat().st_size
    print(f"{sum(p.numel() for p in learnt.parameters())} parameters, {size} bytes in {folder}")
