"""Pictures measured by all ranks together: each by one of them, and its figures by all."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from caselli import ranks
from caselli.data import Pictures
from caselli.errors import UserError
from caselli.shapes import Shaped, Tensor


def own_part(pictures: Pictures) -> tuple[int, Pictures]:
    """This rank's pictures, neighbours, and the number of the first of them in the set.

    Errors: `UserError` where there are fewer pictures than ranks.
    """
    if ranks.count() == 1:
        return 0, pictures
    if len(pictures) < ranks.count():
        raise UserError(
            f"{len(pictures)} pictures were given to {ranks.count()} processes", "one each was expected"
        )
    own = torch.arange(len(pictures)).tensor_split(ranks.count())[ranks.rank()]
    return int(own[0]), pictures.subset(own)


def joined(parts: Sequence[Shaped[Tensor, "b ..."]]) -> Shaped[Tensor, "n ..."]:
    """The measurements of every picture, in the order of the set, on every rank; all have to call it."""
    return ranks.join(torch.cat(tuple(parts)))
