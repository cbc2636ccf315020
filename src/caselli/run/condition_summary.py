"""Summary of a run whose prior is conditioned on more than a label: captions, small pictures."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from caselli.data import Pictures, spread, to_float, with_size
from caselli.engine import Log
from caselli.evaluate import captioned, rank_captions
from caselli.model import Model
from caselli.report import grid, save_png
from caselli.run.folder import RunFolder
from caselli.sampling import Engine
from caselli.shapes import Float, Tensor

EACH = 3
"""Samples beside an original."""


def reads_captions(model: Model, held_out: Pictures) -> bool:
    """True where there are captions to draw by."""
    captions = held_out.captions or ()
    return model.require_prior().alphabet.text is not None and sum(map(bool, captions)) > 1


def look_at_captions(folder: RunFolder, model: Model, held_out: Pictures, engine: Engine, log: Log) -> None:
    """Samples of held-out captions, some beside the picture whose caption it is, and how captions rank."""
    known = captioned(model, held_out)
    shown = known.subset(spread(len(known), 48))
    samples = model.sample(len(shown), text=shown.captions, engine=engine)
    sheet = grid(samples, labels=list(shown.captions))
    save_png(sheet, folder.path / "pictures" / "samples.png", {"seed": "0"})
    few = known.subset(spread(len(known), 16))
    repeated = [caption for caption in few.captions for _ in range(EACH)]
    drawn = model.sample(len(repeated), text=repeated, engine=engine)
    originals = to_float(few.read(torch.arange(len(few))))
    _save_beside(folder, "samples-beside-originals.png", originals, drawn, list(few.captions))
    ranking = rank_captions(model, known.subset(spread(len(known), 64)), among=8)
    log.say(
        f"held-out pictures rank their caption first among {ranking.among} in {ranking.first:.1%} of cases "
        f"(chance {ranking.chance_first:.1%})"
    )
    folder.add_results(captions=dataclasses.asdict(ranking))


def look_at_upscaled(folder: RunFolder, model: Model, held_out: Pictures, engine: Engine) -> None:
    """Held-out pictures at the low resolution, and beside each what is drawn from it."""
    few = held_out.subset(spread(len(held_out), 16))
    small = to_float(with_size(few.read(torch.arange(len(few))), model.condition_size))
    drawn = model.sample(EACH * len(few), picture=small.repeat_interleave(EACH, 0), engine=engine)
    enlarged = F.interpolate(small, size=(model.size, model.size))
    _save_beside(folder, "samples-upscaled.png", enlarged, drawn, None)


def _save_beside(
    folder: RunFolder,
    name: str,
    given: Float[Tensor, "n C H W"],
    drawn: Float[Tensor, "m C H W"],
    captions: list[str] | None,
) -> None:
    """Pairs of the given and the drawn picture, two pairs in a row."""
    together = torch.cat((given[:, None], drawn.unflatten(0, (-1, EACH))), 1).flatten(0, 1)
    names = None
    if captions is not None:
        names = [name for caption in captions for name in (caption, *[""] * EACH)]
    sheet = grid(together, columns=2 * (1 + EACH), labels=names)
    save_png(sheet, folder.path / "pictures" / name, {"seed": "0"})
