"""Performer: softmax attention estimated by positive random features, in linear time."""

from __future__ import annotations

import dataclasses
import math

import torch

from caselli.errors import UserError
from caselli.mixer.base import State
from caselli.mixer.heads import ProjectingMixer
from caselli.mixer.packing import Unpacked, begins
from caselli.ops import exact, linear_attention, no_autocast, orthogonal_features, positive_exponents
from caselli.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class PerformerState(State):
    """Σ φ(k) vᵀ with Σ φ(k) in its last column, and where the sequence under way stands."""

    matrix: Float[Tensor, "B N m v"]
    begin: Int[Tensor, "B"]
    length: int


class Performer(ProjectingMixer):
    r"""FAVOR+: attention through orthogonal random features that are never negative.

    .. math::
        y_t = \frac{\sum_{s \le t} \phi(q_t) \cdot \phi(k_s)\, v_s}{\sum_{s \le t} \phi(q_t)\cdot\phi(k_s)},
        \qquad \phi_i(x) = e^{\omega_i \cdot \tilde x - \lVert\tilde x\rVert^2/2} / \sqrt m,
        \quad \tilde x = x / d^{1/4}

    whose weights have softmax's as their expectation over ω. The features are a buffer, saved with the model;
    `redraw` makes new ones. The state does not grow.

    Arguments:
        width: E.
        features: m, features of a head; by default d ln d.
        epsilon: added to the denominator, so that keys too long for the precision give zero.
        options: as of `caselli.mixer.heads.ProjectingMixer`.

    Source: Choromanski et al. 2021, Rethinking Attention with Performers.

    Example:
        >>> mixer = Performer(width=64, features=32)
        >>> y, state = mixer(torch.zeros(2, 5, 64))
        >>> y.shape, state.matrix.shape
        (torch.Size([2, 5, 64]), torch.Size([2, 1, 32, 65]))
    """

    preferred_form = "chunk"
    angle_dtype = torch.float64

    def __init__(
        self,
        width: int,
        *,
        features: int | None = None,
        epsilon: float = 1e-12,
        chunk_size: int = 64,
        **options,
    ) -> None:
        super().__init__(width, chunk_size=chunk_size, **options)
        features = features or max(1, int(self.head_width * math.log(self.head_width)))
        if features < 1 or epsilon <= 0:
            raise UserError(
                f"features {features}, epsilon {epsilon} were given", "positive numbers were expected"
            )
        self.epsilon = epsilon
        self.register_buffer("features", torch.empty(self.heads, features, self.head_width))
        self.redraw()

    @classmethod
    def of_state(cls, width, numbers, **options):
        return super().of_state(width, numbers, features=numbers // width, **options)

    @torch.no_grad()
    def redraw(self, generator: torch.Generator | None = None) -> None:
        """Draws new features; what a state remembers through the old ones is then meaningless."""
        rows = [orthogonal_features(*self.features.shape[1:], generator) for _ in range(self.heads)]
        self.features.copy_(torch.stack(rows))

    def initial_state(self, batch: int, capacity: int | None = None) -> PerformerState:
        empty = torch.zeros(batch, self.heads, self.features.shape[1], self.head_width + 1, **self.like())
        begin = torch.zeros(batch, dtype=torch.int64, device=empty.device)
        return PerformerState(exact(empty), begin, length=0)

    def parallel(self, x, state, starts):
        return self._mix(x, state, starts, x.shape[1])

    def chunk(self, x, state, starts):
        return self._mix(x, state, starts, self.chunk_size)

    def step(self, x, state, starts):
        return self._mix(x, state, starts, 1)

    def _mix(self, x, state, starts, size):
        begin = begins(starts, state.begin, state.length, x.shape[1])
        q, k, v = self.project(x, state.length, begin)  # random features do not depend on distances alone
        q, k, v = self._features(q, *self.repeated(k, v))
        matrix = state.matrix
        if self.causal:
            y, matrix = linear_attention(q, k, v, matrix, starts=starts, chunk_size=size)
        elif starts is None:
            y = _everything(q, k, v)
        else:
            rows = Unpacked.of(starts)
            y = rows.pack(_everything(*(rows.unpack(z) for z in (q, k, v))))
        y = y[..., :-1] / (y[..., -1:] + self.epsilon)
        state = PerformerState(matrix, begin[:, -1], state.length + x.shape[1])
        return self.join(y.transpose(1, 2).to(x.dtype)), state

    def _features(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """φ(q) and φ(k) `B T N m`, v with a column of ones. A query's largest feature is made 1; the keys'
        logarithms are lowered alike, so that no feature passes e⁴⁰: both cancel in the ratio."""
        features = exact(self.features)
        with no_autocast(q):
            q, k = (positive_exponents(exact(x), features) for x in (q, k))
        q = q - q.detach().amax(-1, keepdim=True)
        k = k - (features.square().sum(-1).amax() / 2 - 40).clamp_min(0)
        v = torch.cat((exact(v), torch.ones_like(exact(v[..., :1]))), -1)
        return tuple(x.transpose(1, 2) for x in (q.exp(), k.exp(), v))


def _everything(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Every token sees its whole row, `B T N ·`; zeros fill it up."""
    return torch.einsum("btnm,bnmv->btnv", q, torch.einsum("btnm,btnv->bnmv", k, v))
