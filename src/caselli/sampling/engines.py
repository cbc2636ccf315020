"""The table of engines, and the choice among them."""

from __future__ import annotations

from caselli.prior import Prior
from caselli.sampling.base import Engine
from caselli.sampling.eager import EagerEngine
from caselli.sampling.fused import FusedEngine
from caselli.sampling.graph import GraphEngine
from caselli.sampling.packed import PackedEngine
from caselli.sampling.rounding import own_precision, rounded
from caselli.sampling.straight import StraightEngine

ENGINES: dict[str, type[Engine]] = {
    "fused": FusedEngine,
    "packed": PackedEngine,
    "graph": GraphEngine,
    "eager": EagerEngine,
}
"""Name → what computes the steps; the fastest first, the last one serves every prior."""


def best_engine(prior: Prior, precision: str | None = None) -> tuple[Engine, str]:
    """The fastest engine that serves a prior on this machine, and why it is not the fused one (else empty).

    Arguments:
        prior: the distribution, in evaluation mode. An engine keeps the weights as they are now.
        precision: of the linear layers' weights, see `caselli.sampling.WEIGHT_PRECISIONS`; None for the one
            in which they are stored.
    """
    precision, straight = precision or own_precision(prior), prior.straight()
    if straight is not None and straight is not prior:
        engine, why = best_engine(straight, precision)
        return StraightEngine(rounded(prior, precision), engine), why
    why = ""
    for kind in ENGINES.values():
        refusal = kind.refusal(prior)
        if refusal is None:
            return kind(prior, precision), why
        why = why or refusal
    raise AssertionError("the last engine serves every prior")
