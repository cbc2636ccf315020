"""Linear attention: softmax replaced by a product of features."""

from __future__ import annotations

import torch

from caselli.errors import UnknownName, UserError
from caselli.mixer.dense import Dense
from caselli.mixer.parts import MatrixState, RecurrentMixer, head_count, split_heads
from caselli.ops import FEATURE_MAPS, exact, linear_attention


class Linear(RecurrentMixer):
    r"""Multi-head linear attention.

    .. math::
        y_t = \frac{\sum_{s \le t} \phi(q_t)\cdot\phi(k_s)\; v_s}
                   {\sum_{s \le t} \phi(q_t)\cdot\phi(k_s) + \epsilon}

    or the numerator alone. Its state does not grow: S = Σ φ(k) vᵀ and Σ φ(k).

    Arguments:
        width: E.
        heads: N; by default one for every 64 channels.
        feature_map: φ, a name of `caselli.ops.feature_maps.FEATURE_MAPS`.
        normalise: whether the weights sum to one.
        key_width: channels of a query or key, d; by default E/N, and at most 16 for taylor (273 features).
        causal: whether a token sees only itself and the past.
        epsilon: added to the denominator.
        chunk_size: tokens that are compared directly.

    Source: Katharopoulos et al. 2020, Transformers are RNNs: Fast Autoregressive Transformers with Linear
    Attention.

    Example:
        >>> y, state = Linear(width=64)(torch.zeros(2, 5, 64))
        >>> y.shape, state.matrix.shape
        (torch.Size([2, 5, 64]), torch.Size([2, 1, 64, 65]))
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int | None = None,
        feature_map: str = "elu",
        normalise: bool = True,
        key_width: int | None = None,
        causal: bool = True,
        epsilon: float = 1e-6,
        chunk_size: int = 64,
    ) -> None:
        super().__init__(width, causal=causal, chunk_size=chunk_size)
        if feature_map not in FEATURE_MAPS:
            raise UnknownName("feature map", feature_map, FEATURE_MAPS)
        if normalise and feature_map == "identity":
            raise UserError(
                f"feature_map {feature_map!r} and normalise=True were given",
                "weights that may be negative have no sum to divide by",
                "pass normalise=False",
            )
        self.features = FEATURE_MAPS[feature_map]
        self.heads, self.normalise, self.epsilon = head_count(width, heads), normalise, epsilon
        if key_width is None:
            key_width = width // self.heads if feature_map != "taylor" else min(16, width // self.heads)
        self.key_width = key_width
        self.query = Dense(width, self.heads * key_width, bias=False)
        self.key = Dense(width, self.heads * key_width, bias=False)
        self.value = Dense(width, width, bias=False)
        self.output = Dense(width, width, bias=False)

    def initial_state(self, batch: int, capacity: int | None = None) -> MatrixState:
        columns = self.width // self.heads + self.normalise
        rows = self.features(torch.zeros(self.key_width)).numel()
        return MatrixState(self.zeros(batch, self.heads, rows, columns))

    def mix(self, x, state, starts, size):
        q, k = (self.features(exact(split_heads(p(x), self.heads))) for p in (self.query, self.key))
        v = exact(split_heads(self.value(x), self.heads))
        if self.normalise:
            v = torch.cat((v, torch.ones_like(v[..., :1])), -1)
        if self.causal:
            y, matrix = linear_attention(q, k, v, state.matrix, starts=starts, chunk_size=size)
        else:
            y, matrix = _both_ways(q, k, v, state.matrix, starts, self.chunk_size), state.matrix
        if self.normalise:
            y = y[..., :-1] / (y[..., -1:] + self.epsilon)
        return self.output(y.flatten(2).to(x.dtype)), MatrixState(matrix)


def _both_ways(q, k, v, zero, starts, size):
    """Every token sees its whole sequence: the past with itself, and the future without."""
    if starts is None:
        return q.transpose(1, 2).matmul(torch.einsum("btnd,btnv->bndv", k, v)).transpose(1, 2)
    ends = torch.cat((starts[:, 1:], torch.ones_like(starts[:, :1])), 1)
    past, _ = linear_attention(q, k, v, zero, starts=starts, chunk_size=size)
    future, _ = linear_attention(q.flip(1), k.flip(1), v.flip(1), zero, starts=ends.flip(1), chunk_size=size)
    return past + future.flip(1) - (q * k).sum(-1, keepdim=True) * v
