"""The codes of a whole set, with varied versions of its pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from caselli import data
from caselli.data import CodeStore, Pictures
from caselli.errors import UserError
from caselli.shapes import Float, Int, Shaped, Tensor
from caselli.tokenizer import Tokenizer


def encode(
    tokenizer: Tokenizer,
    pictures: Pictures,
    views: int = 1,
    augment: data.Augment = data.Augment(),  # noqa: B008  (frozen)
    seed: int = 0,
    batch: int = 256,
    condition: Int[Tensor, "n P"] | None = None,
) -> CodeStore:
    """The codes of a whole set, in order; with more than one view, of varied versions after it.

    Errors: `UserError` for a tokenizer without a codebook.
    """
    if not tokenizer.quantizer.sizes:
        raise UserError(
            f"a tokenizer with the continuous quantizer {tokenizer.config.quantizer!r} was given",
            "one with a codebook was expected: its latents are no codes",
        )
    codes = torch.cat(list(encoded(tokenizer, pictures, data.to_float, views, augment, seed, batch)))
    return stored(tokenizer, pictures, codes, views, condition)


def stored(
    tokenizer: Tokenizer,
    pictures: Pictures,
    codes: Shaped[Tensor, "n *S"],
    views: int = 1,
    condition: Int[Tensor, "n P"] | None = None,
) -> CodeStore:
    """Codes that `encoded` gave, with what is known of their pictures."""
    return CodeStore(
        codes=codes,
        labels=None if pictures.labels is None else pictures.labels.repeat(views),
        sizes=tokenizer.quantizer.sizes,
        classes=pictures.classes,
        captions=None if pictures.captions is None else pictures.captions * views,
        all_captions=None if pictures.all_captions is None else pictures.all_captions * views,
        names=pictures.names * views,
        tokenizer=tokenizer.fingerprint(),
        data=pictures.fingerprint,
        condition=condition,
    )


def encoded(
    tokenizer: Tokenizer,
    pictures: Pictures,
    shown: Callable[[Shaped[Tensor, "n C H W"]], Float[Tensor, "n C H W"]],
    views: int,
    augment: data.Augment,
    seed: int,
    batch: int = 256,
    wanted: range | None = None,
) -> Iterator[Tensor]:
    """The codes of each batch of every view; sets of equal length are varied alike.

    Arguments:
        wanted: numbers of the batches to encode, counted through all views; None for all.
        shown: from uint8 pictures to what the tokenizer is given.
        views, augment, seed: number of versions of each picture, and how they are varied.
    """
    device = next(iter(tokenizer.state_dict().values())).device
    parts = torch.arange(len(pictures)).split(batch)
    for view in range(views):
        own = [i for i in range(len(parts)) if wanted is None or view * len(parts) + i in wanted]
        for number, pixels in zip(own, pictures.stream([parts[i] for i in own]), strict=True):
            if view:
                moves = augment.draw(len(pixels), data.generator("views", seed, view, number))
                pixels = augment.apply(pixels, moves)
            yield tokenizer.encode(shown(pixels).to(device)).cpu()
