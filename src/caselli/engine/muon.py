"""Muon, whose iteration computes in the precision of the run."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import Parameter

from caselli.engine.sharding import is_part
from caselli.shapes import Float, Tensor

COEFFICIENTS = 3.4445, -4.7750, 2.0315
"""A quintic that is steep at zero: singular values end near 1, by a third at most, after five turns."""
TURNS = 5
SMALL = 1 << 16
"""Elements up to which matrices of one shape are taken together."""


class Muon(torch.optim.Optimizer):
    r"""Momentum, a matrix that is replaced by the nearest orthogonal one: all directions are learned alike.

    $$m ← μ m + (1 - μ) g$$
    $$θ ← (1 - η λ) θ - 0.2\, η \sqrt{\max(M, N)}\; \mathrm{orthogonal}(g + μ (m - g))$$

    The update has the root mean square that AdamW's usually has. In bfloat16 the steps are those of
    `torch.optim.Muon`, bit by bit. In float32 the iteration is too: it makes small singular values large, and
    with them the rounding of bfloat16, so that two orders of a sum lead to weights that differ by a per cent
    after twenty steps instead of by a millionth.

    Arguments:
        matrices: parameters of two axes.
        lr: step size η.
        weight_decay: share λ of the weights that a step of size 1 takes off.
        precision: the type that the iteration computes in.
        momentum: μ, in [0, 1).

    Sources: Jordan et al. 2024, Muon: An optimizer for hidden layers in neural networks; Liu et al. 2025,
    Muon is Scalable for LLM Training.

    Example:
        >>> weight = torch.nn.Parameter(torch.eye(3))
        >>> weight.grad = torch.diag(torch.tensor([4.0, 3.0, 2.0]))
        >>> Muon([weight], lr=1.0, weight_decay=0.0, precision=torch.float32).step()
        >>> (1 - weight.detach().diag()).div(0.2 * 3**0.5)
        tensor([1.0494, 0.6821, 1.0467])
    """

    def __init__(
        self,
        matrices: Sequence[Parameter],
        lr: float,
        weight_decay: float,
        precision: torch.dtype,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.precision = precision

    @torch.no_grad()
    def step(self) -> None:
        """Moves the matrices by their gradients."""
        for group in self.param_groups:
            rate = group["lr"]
            matrices = [matrix for matrix in group["params"] if matrix.grad is not None]
            for alike in _alike(matrices):
                updates = [self._update(matrix, group["momentum"]) for matrix in alike]
                for matrix, update in zip(alike, _each_orthogonal(updates), strict=True):
                    matrix.mul_(1 - rate * group["weight_decay"])
                    matrix.add_(update, alpha=-rate * 0.2 * math.sqrt(max(matrix.shape)))

    def _update(self, matrix: Parameter, momentum: float) -> Float[Tensor, "M N"]:
        """The gradient with its momentum."""
        state = self.state[matrix]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(matrix.grad)
        mean = state["momentum_buffer"].lerp_(matrix.grad, 1 - momentum)
        return matrix.grad.lerp(mean, momentum).to(self.precision)


def _alike(matrices: Sequence[Parameter]) -> list[list[Parameter]]:
    """Small matrices of one shape together, which costs fewer calls; others each alone."""
    together: dict[tuple[int, ...], list[Parameter]] = {}
    for matrix in matrices:
        small = matrix.numel() <= SMALL and not is_part(matrix)
        together.setdefault(tuple(matrix.shape) if small else (id(matrix),), []).append(matrix)
    return list(together.values())


def _each_orthogonal(updates: list[Tensor]) -> Sequence[Tensor]:
    """`orthogonal` of each of some matrices of one shape."""
    return [orthogonal(updates[0])] if len(updates) == 1 else orthogonal(torch.stack(updates)).unbind()


def orthogonal(matrices: Float[Tensor, "*n M N"]) -> Float[Tensor, "*n M N"]:
    """Nearly the orthogonal matrix that is nearest: singular vectors stay, singular values come near 1, those
    below a few thousandths of the norm excepted.

    Arguments:
        matrices: one, or several of one shape.

    Source: Jordan et al. 2024: five turns of a Newton-Schulz iteration.
    """
    a, b, c = COEFFICIENTS
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    product = torch.addmm if matrices.dim() == 2 else torch.baddbmm
    x = matrices.mT if is_tall else matrices  # the smaller of the two squares
    x = x / torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(TURNS):
        square = x @ x.mT
        x = product(x, product(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x
