"""Taking heads, channels and layers out of a network, the least important on data first."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from caselli.errors import UserError
from caselli.shapes import Float, Int, Tensor
from caselli.slim.structure import CHANNELS, HEADS, Units, units_of

Loss = Callable[[], Float[Tensor, ""]]
"""The loss of one batch."""

STRUCTURES = {"heads": HEADS, "channels": CHANNELS}
"""Kind of unit that is removed → the parts of a network that have such units."""


def importance(
    network: nn.Module, found: Sequence[Units], losses: Iterable[Loss]
) -> list[Float[Tensor, "n"]]:
    r"""First-order change of the loss without each unit, squared.

    .. math:: I_u = \sum_b \Big(\sum_{w \in u} w\,\frac{\partial L_b}{\partial w}\Big)^2

    over batches b and the weights w that the unit's output goes through.

    Source: Molchanov et al. 2019, Importance Estimation for Neural Network Pruning.
    """
    sums = [torch.zeros(len(units)) for units in found]
    for loss in losses:
        network.zero_grad(set_to_none=True)
        loss().backward()
        for total, units in zip(sums, found, strict=True):
            total += units.first_order(network).float().square()
    network.zero_grad(set_to_none=True)
    return sums


def survivors(importances: Sequence[Float[Tensor, "n"]], share: float) -> list[Int[Tensor, "n"]]:
    """The units of each part that stay when a share of all of them goes, the least important first.

    Parts compete with each other, but each keeps at least one unit.

    Example:
        >>> survivors([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 0.5, 0.1])], 0.6)
        [tensor([1]), tensor([0])]
    """
    total = sum(map(len, importances))
    ranked = torch.cat([part.scatter(0, part.argmax(), torch.inf) for part in map(torch.clone, importances)])
    going = min(round(share * total), total - len(importances))
    stay = torch.ones(total, dtype=torch.bool)
    stay[ranked.argsort(stable=True)[:going]] = False
    return [part.nonzero().flatten() for part in stay.split([len(part) for part in importances])]


def remove_units(network: nn.Module, structure: str, share: float, losses: Iterable[Loss]) -> str:
    """Takes a share of the heads or channels out; says in words what went.

    Arguments:
        network: a prior, or a tokenizer's decoder.
        structure: name in `STRUCTURES`.
        share: of the units, 0 to 1.
        losses: of some batches, by which importance is measured.

    Errors: `UserError` for a network that has none.
    """
    found = units_of(network, STRUCTURES[structure])
    if not found:
        kinds = ", ".join(sorted(kind.__name__ for kind in STRUCTURES[structure]))
        raise UserError(
            f"a {type(network).__name__} without {structure} that can be taken out was given",
            f"parts with several {structure}, of {kinds}, were expected",
            "choose another --structure",
        )
    kept = survivors(importance(network, found, losses), share)
    before = sum(map(len, found))
    for units, stay in zip(found, kept, strict=True):
        units.keep(network, stay)
    counts = ", ".join(str(len(stay)) for stay in kept)
    return f"{sum(map(len, kept))} of {before} {structure} stay: {counts}"


@torch.no_grad()
def remove_layers(prior: Any, share: float, losses: Sequence[Loss]) -> str:
    """Takes a share of a prior's layers out, one after the other that whose absence costs least on data; says
    in words what went. Its configuration has as many layers and mixers afterwards.

    Arguments:
        prior: with `blocks` and a configuration of them.
        share: of the layers, 0 to 1; at least one stays.
        losses: of some batches.
    """
    names = prior.config.mixers()
    names = [names[i % len(names)] for i in range(len(prior.blocks))]
    left = list(range(len(prior.blocks)))
    whole = list(prior.blocks)
    going = min(round(share * len(left)), len(left) - 1)
    if not going:
        raise UserError(f"a share of {share} of {len(left)} layers is none", "at least one was expected")
    for _ in range(going):
        costs = {}
        for layer in left:
            prior.blocks = nn.ModuleList(whole[i] for i in left if i != layer)
            costs[layer] = sum(loss().item() for loss in losses)
        left.remove(min(costs, key=costs.get))
    prior.blocks = nn.ModuleList(whole[i] for i in left)
    prior.config = dataclasses.replace(prior.config, mixer=[names[i] for i in left], depth=len(left))
    return f"layers {', '.join(str(i + 1) for i in left)} of {len(whole)} stay"
