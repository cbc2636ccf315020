"""The layer that all sequence priors are made of: norm, mixer and MLP."""

from __future__ import annotations

from typing import Any

from torch import nn

from caselli.errors import UnknownName, UserError, lookup
from caselli.mixer import MIXERS, Bidirectional, Mixer, State
from caselli.mixer.dense import Dense
from caselli.plain import options_of
from caselli.prior.layer import (
    ACTIVATIONS,
    OWN_LAYER,
    UNCHANGED,
    Dropout,
    LayerConfig,
    Modulation,
    NoModulation,
)
from caselli.shapes import Bool, Float, Tensor


class Block(nn.Module):
    r"""A layer of a prior, around any mixer.

    .. math:: x \leftarrow x + \mathrm{mixer}(N x), \qquad x \leftarrow x + W_2\,\mathrm{GELU}(W_1 N x)

    with N a layer normalisation without offset. A `LayerConfig` may put other parts in their places: another
    N, or N behind the sum; another activation, or no MLP at all; and a condition c that scales and shifts
    N x, and gates what is added.

    Arguments:
        mixer: sequence → sequence.
        expansion: inner width of the MLP, in units of the mixer's width; 0 for no MLP.
        dropout: share of each branch's output that is dropped in training.
        layer: the parts.

    Sources: Vaswani et al. 2017, Attention Is All You Need; Xiong et al. 2020, On Layer Normalization in the
    Transformer Architecture.
    """

    def __init__(
        self, mixer: Mixer, expansion: float, dropout: float, layer: LayerConfig = OWN_LAYER
    ) -> None:
        super().__init__()
        width = mixer.width
        inner = round(expansion * width)
        self.mixer, self.normalises_first = mixer, layer.norm_place == "before"
        self.norm1 = layer.normalisation(width)
        self.norm2 = layer.normalisation(width) if inner else None
        self.activation, taken = ACTIVATIONS[layer.activation]
        self.up = Dense(width, taken * inner, bias=layer.bias) if inner else None
        self.down = Dense(inner, width, bias=layer.bias) if inner else None
        self.modulation = Modulation(width, 2 if inner else 1) if layer.modulation else NoModulation()
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "B T E"],
        state: State | None,
        starts: Bool[Tensor, "B T"] | None = None,
        condition: Float[Tensor, "B T E"] | None = None,
    ) -> tuple[Float[Tensor, "B T E"], State]:
        first, second = self.modulation(condition)
        y, state = self.mixer(first.enter(self._before(x, self.norm1)), state, starts=starts)
        return self.behind(x, y, first, second), state

    def behind(
        self, x: Float[Tensor, "B T E"], y: Float[Tensor, "B T E"], first=UNCHANGED[0], second=UNCHANGED[1]
    ) -> Float[Tensor, "B T E"]:
        """The layer's output for an input x of which y is the mixer's.

        Arguments:
            x, y: input and the mixer's output.
            first, second: what a condition makes of the two branches.
        """
        x = self._after(x + first.leave(self.dropout(y)), self.norm1)
        if self.up is None:
            return x
        y = self.down(self.activation(self.up(second.enter(self._before(x, self.norm2)))))
        return self._after(x + second.leave(self.dropout(y)), self.norm2)

    def _before(self, x: Tensor, norm: nn.Module) -> Tensor:
        return norm(x) if self.normalises_first else x

    def _after(self, x: Tensor, norm: nn.Module) -> Tensor:
        return x if self.normalises_first else norm(x)


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
