"""The visible part of pictures that are completed: its codes, and its own pixels."""

from __future__ import annotations

import torch

from caselli.errors import UserError
from caselli.model.conditioned import Conditioned
from caselli.shapes import Bool, Float, Int, Tensor


def visible_codes(
    model: Conditioned, pictures: Float[Tensor, "B C H W"], keep: Bool[Tensor, "H W"]
) -> Int[Tensor, "B *S"]:
    """The codes whose pixels are kept, −1 elsewhere; what is hidden does not reach the encoder.

    Errors: `UserError` where the pictures or the mask have another size than the model, or nothing is kept.
    """
    tokenizer, size = model.tokenizer, (model.size, model.size)
    if pictures.shape[-2:] != keep.shape or keep.shape != size:
        raise UserError(
            f"pictures of {tuple(pictures.shape[-2:])} and a mask of {tuple(keep.shape)} were given",
            f"{size} was expected of both",
        )
    space = tokenizer.architecture.latent_shape(tokenizer.config, size)
    kept = tokenizer.quantizer.visible_codes(keep, space)
    if not keep.any():
        raise UserError("a mask that keeps nothing was given", remedy="use `sample` for whole pictures")
    mean = (pictures * keep).sum((2, 3), keepdim=True) / keep.sum()
    codes = model.encode(torch.where(keep, pictures, mean))
    return torch.where(kept.to(codes.device).expand(codes.shape), codes, -1)


def paste(
    pictures: Float[Tensor, "B C H W"], completed: Float[Tensor, "B C H W"], keep: Bool[Tensor, "H W"]
) -> Float[Tensor, "B C H W"]:
    """The original's own pixels where they are kept.

    Example:
        >>> one, zero = torch.ones(1, 1, 1, 2), torch.zeros(1, 1, 1, 2)
        >>> paste(one, zero, torch.tensor([[True, False]])).flatten()
        tensor([1., 0.])
    """
    return torch.where(keep, pictures, completed)
