"""A threshold seen as a bias: the perceptron, with its threshold learnt or fixed.

A unit fires if w · x > θ, which is w · x + b > 0 with the bias b = −θ: the threshold is one more weight, of
an input that is always −1. Left out (θ fixed at 0), the line between the classes must go through the origin.
"""

from __future__ import annotations

import dataclasses

import torch

from caselli.shapes import Bool, Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class PerceptronRun:
    """What training left."""

    weight: Float[Tensor, "d"]
    threshold: float
    mistakes: tuple[int, ...]
    """How many points were wrong in each pass; the last is 0 if it converged."""

    def fires(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n"]:
        """Whether w · x > θ."""
        return x @ self.weight > self.threshold


def train_perceptron(
    x: Float[Tensor, "n d"],
    labels: Int[Tensor, "n"],
    *,
    learn_threshold: bool = True,
    threshold: float = 0.0,
    passes: int = 100,
) -> PerceptronRun:
    r"""Rosenblatt's rule: each wrong point moves the weights by itself, and the threshold by one.

    .. math:: w \leftarrow w + (y - \hat y)\,x, \qquad \theta \leftarrow \theta - (y - \hat y)

    Arguments:
        x: n points.
        labels: n classes, 0 or 1.
        learn_threshold: whether θ moves; else it stays at `threshold`.
        threshold: where θ starts.
        passes: over the points, at most; it stops when none is wrong.

    Source: Rosenblatt, 1958, "The perceptron: a probabilistic model for information storage and
    organization in the brain".

    Example:
        >>> corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        >>> nand = torch.tensor([1, 1, 1, 0])
        >>> train_perceptron(corners, nand).mistakes[-1]
        0
        >>> train_perceptron(corners, nand, learn_threshold=False).mistakes[-1] > 0
        True
    """
    weight, theta, mistakes = torch.zeros(x.shape[1], dtype=x.dtype), float(threshold), []
    for _ in range(passes):
        wrong = 0
        for point, label in zip(x, labels.tolist(), strict=True):
            error = label - int(point @ weight > theta)
            if error:
                weight = weight + error * point
                theta -= error * learn_threshold
                wrong += 1
        mistakes.append(wrong)
        if wrong == 0:
            break
    return PerceptronRun(weight, theta, tuple(mistakes))
