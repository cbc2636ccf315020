"""The rounds of priors that draw many codes at once: how many in each, and at which places."""

from __future__ import annotations

import torch

from caselli.schedules import MASK_SCHEDULES
from caselli.shapes import Bool, Int, Tensor


def round_sizes(unknown: int, rounds: int, schedule: str = "cosine") -> list[int]:
    """Number of codes that each round draws, at least one; in all `unknown`.

    Arguments:
        unknown: codes to be drawn, at least 1.
        rounds: number of rounds; more than codes are as many as codes.
        schedule: name in `MASK_SCHEDULES`, the share that is left to later rounds.

    Example:
        >>> round_sizes(16, 4), round_sizes(16, 4, "linear"), round_sizes(3, 8)
        ([2, 3, 5, 6], [4, 4, 4, 4], [1, 1, 1])
    """
    rounds = max(1, min(rounds, unknown))
    done = torch.arange(1, rounds + 1, dtype=torch.float64) / rounds
    left = (
        (unknown * MASK_SCHEDULES[schedule](done) + 1e-6).long().tolist()
    )  # whole products must not round down
    sizes, hidden = [], unknown
    for number, wanted in enumerate(left):
        later = rounds - 1 - number  # a code at least is left to each of them
        now = hidden - min(max(wanted, later), hidden - 1) if later else hidden
        sizes.append(now)
        hidden -= now
    return sizes


def locality_order(
    places: Int[Tensor, "T 2"], known: Bool[Tensor, "B T"], sizes: list[int], seed: int = 0
) -> Int[Tensor, "B T"]:
    r"""Slots in the order of drawing: known ones, then rounds near what is drawn and of places far apart.

    In each round, place by place, the slot is taken whose neighbours are drawn most,

    .. math:: s_j = \sum_{i\ \text{drawn},\ i \sim j} 1 / \lVert i - j \rVert \ge 1,

    i ~ j where they touch, a corner included, unless it touches a place of the same round; where none is
    left, the one that lies farthest from the places of the round. Ties are broken by the seed, alike in every
    row, so that the order depends on what is known and nothing else.

    Arguments:
        places: row and column of each slot; several codebooks share places.
        known: slots that are known before the first round, equally many in each row.
        sizes: slots of each round, all that are not known in sum.
        seed: of the ties.

    Source: Zhang et al. 2025, Locality-aware Parallel Decoding for Efficient Autoregressive Image Generation.

    Example:
        >>> line = torch.tensor([[0, column] for column in range(5)])
        >>> locality_order(line, torch.tensor([[True, False, False, False, False]]), [1, 2, 1])
        tensor([[0, 1, 2, 4, 3]])
    """
    patterns, row = known.cpu().unique(dim=0, return_inverse=True)
    order = _orders(places.cpu().double(), patterns, sizes, seed)
    return order[row].to(known.device)


def _orders(places: Tensor, known: Tensor, sizes: list[int], seed: int) -> Int[Tensor, "B T"]:
    ties = 1e-6 * torch.rand(len(places), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    apart = torch.cdist(places, places)
    beside = (places[:, None] - places[None]).abs().amax(-1) <= 1
    closeness = beside / apart.clamp_min(0.5)  # codes of one place in other codebooks are the closest
    first = (~known).long().argsort(dim=1, stable=True)[:, : int(known[0].sum())]
    drawn, picks = known.clone(), [first]
    for size in sizes:
        proximity, chosen = drawn.double() @ closeness, torch.zeros_like(drawn)
        repelled, nearest = chosen.clone(), torch.full(chosen.shape, torch.inf, dtype=torch.float64)
        for _ in range(size):
            free = ~(drawn | chosen)
            good = free & ~repelled & (proximity >= 1)
            near = (proximity + ties).masked_fill(~good, -torch.inf)
            far = (nearest.clamp_max(1e6) + ties).masked_fill(~free, -torch.inf)
            pick = torch.where(good.any(1, keepdim=True), near, far).argmax(1)
            chosen.scatter_(1, pick[:, None], True)
            repelled, nearest = repelled | beside[pick], torch.minimum(nearest, apart[pick])
            picks.append(pick[:, None])
        drawn |= chosen
    return torch.cat(picks, 1)
