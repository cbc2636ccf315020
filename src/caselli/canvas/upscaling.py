"""Small pictures of any size drawn larger, by a prior that is conditioned on the low resolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from caselli.canvas.canvas import Canvas
from caselli.errors import UserError
from caselli.model import Model
from caselli.sampling import AS_LEARNED, Engine, Sampling
from caselli.shapes import Float, Tensor


def upscale(
    model: Model,
    small: Sequence[Float[Tensor, "C h w"]],
    count: int = 1,
    label: str | int | None = None,
    text: Sequence[str] | None = None,
    seed: int = 0,
    options: Sampling = AS_LEARNED,
    engine: Engine | None = None,
) -> list[Float[Tensor, "C H W"]]:
    """Drawings of each small picture in turn, larger by the factor that the prior was trained for.

    Pictures of the run's own small size are drawn together, others each on a canvas.

    Arguments:
        model: its prior is conditioned on the low resolution.
        small: pictures in [−1, 1], of sizes that may differ.
        count: drawings of each.
        label: a class for all, or None for any.
        text: a caption for each small picture, or None.
        seed: drawing i of all is drawn with seed + i.
        options, engine: see `Model.sample`.

    Errors: `UserError` for a prior without that condition, and for another size where codes have no places.
    """
    if count < 1:
        raise UserError(f"{count} drawings were asked for", "at least 1 was expected")
    own = (model.require_small_size(),) * 2
    texts = None if text is None else [caption for caption in text for _ in range(count)]
    if all(picture.shape[1:] == own for picture in small):
        picture = torch.stack(list(small)).repeat_interleave(count, 0)
        return list(
            model.sample(len(picture), label, seed, options, engine=engine, text=texts, picture=picture)
        )
    if model.grid.flat:
        raise UserError(
            "pictures of another size were given to a tokenizer whose codes lie on one axis",
            f"{own[0]}×{own[1]} pixels were expected",
        )
    large, factor = [], model.prior.config.condition_factor
    for number, picture in enumerate(small):
        conditions = model.conditions(count, label, None if text is None else text[number])
        size = picture.shape[1] * factor, picture.shape[2] * factor
        canvas = Canvas(model, size, options=options, engine=engine)
        large += canvas.upscale(picture[None].expand(count, -1, -1, -1), conditions, seed + number * count)
    return large
