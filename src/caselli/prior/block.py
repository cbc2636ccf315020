"""The layer that all sequence priors are made of: norm, mixer and MLP."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import nn

from caselli.errors import UnknownName, UserError, lookup
from caselli.mixer import MIXERS, Bidirectional, Mixer, State
from caselli.mixer.dense import Dense
from caselli.plain import options_of
from caselli.shapes import Bool, Float, Tensor


class Block(nn.Module):
    r"""A layer of a prior, around any mixer.

    .. math:: x \leftarrow x + \mathrm{mixer}(N x), \qquad x \leftarrow x + W_2\,\mathrm{GELU}(W_1 N x)

    with N a layer normalisation without offset.

    Sources: Vaswani et al. 2017, Attention Is All You Need; Xiong et al. 2020, On Layer Normalization in the
    Transformer Architecture.
    """

    def __init__(self, mixer: Mixer, expansion: float, dropout: float) -> None:
        super().__init__()
        width = mixer.width
        inner = round(expansion * width)
        self.mixer = mixer
        self.norm1, self.norm2 = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.up, self.down = Dense(width, inner), Dense(inner, width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "B T E"], state: State | None, starts: Bool[Tensor, "B T"] | None = None
    ) -> tuple[Float[Tensor, "B T E"], State]:
        y, state = self.mixer(self.norm1(x), state, starts=starts)
        return self.behind(x, y), state

    def behind(self, x: Float[Tensor, "B T E"], y: Float[Tensor, "B T E"]) -> Float[Tensor, "B T E"]:
        """The layer's output for an input x of which y is the mixer's."""
        x = x + self.dropout(y)
        return x + self.dropout(self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh")))


def build_mixers(
    names: list[str],
    depth: int,
    width: int,
    options: dict[str, Any],
    causal: bool = True,
    table: dict[str, type[Mixer]] = MIXERS,
) -> list[Mixer]:
    """The mixers of all layers, the names in turn; each gets the options that it has.

    Where the prior is not causal, a mixer that can be bidirectional is; one that is causal by nature goes
    forwards, with another beside it that goes backwards. `table` has the mixers by name.

    Errors: `UserError` for a name or option that no mixer knows, and for a causal prior one that is not.
    """
    kinds = [lookup(table, "mixer", name) for name in names]
    known = {kind: options_of(kind) for kind in kinds}
    for option in options:
        if not any(option in parameters for parameters in known.values()):
            raise UnknownName("mixer option", option, sorted(set().union(*known.values())))
    mixers = []
    for layer in range(depth):
        kind = kinds[layer % len(kinds)]
        own = {k: v for k, v in options.items() if k in known[kind]}
        mixer = kind(width, **own) if causal else _bidirectional(kind, width, own)
        if mixer.causal != causal:
            raise UserError(
                f"mixer {names[layer % len(names)]!r} was given",
                "an autoregressive prior needs a causal one",
                "see `caselli list mixer`",
            )
        mixers.append(mixer)
    return mixers


def _bidirectional(kind: type[Mixer], width: int, options: dict[str, Any]) -> Mixer:
    if "causal" in options_of(kind):
        try:
            return kind(width, **(options | {"causal": False}))
        except UserError:  # causal by nature, or another mistake, which comes again
            pass
    return Bidirectional(kind(width, **options), kind(width, **options))
