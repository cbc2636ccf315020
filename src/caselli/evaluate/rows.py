"""Features as they must be for a distance to mean anything."""

from __future__ import annotations

import torch

from caselli.errors import UserError
from caselli.shapes import Float, Tensor


def feature_rows(features: Float[Tensor, "n F"]) -> Float[Tensor, "n F"]:
    """In float64; raises `UserError` where they are no matrix, none, or not finite."""
    if features.ndim != 2 or len(features) == 0:
        raise UserError(
            f"features of shape {tuple(features.shape)} were given", "one row a picture was expected"
        )
    if not torch.isfinite(features).all():
        raise UserError(
            "features that are not finite were given", "finite numbers were expected", "look at the pictures"
        )
    return features.double()
