"""A threshold seen as a bias: the perceptron, with its threshold learnt or fixed.

A unit fires if w · x > θ, which is w · x + b > 0 with the bias b = −θ: the threshold is one more weight, of
an input that is always −1. Left out (θ fixed at 0), the line between the classes must go through the origin.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from caselli.anatomy.drawing import axes_of_figure
from caselli.shapes import Bool, Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class PerceptronRun:
    """A trained perceptron and its mistakes."""

    weight: Float[Tensor, "d"]
    threshold: float
    mistakes: tuple[int, ...]
    """Number of misclassified points in each pass; the last is 0 if training converged."""

    def fires(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n"]:
        """Output of the unit for each point: w · x > θ."""
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
        learn_threshold: update θ too; otherwise it stays at `threshold`.
        threshold: initial θ.
        passes: maximal number of passes over the points; training stops when none is misclassified.

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


def draw_perceptrons(
    runs: dict[str, PerceptronRun], x: Float[Tensor, "n 2"], labels: Int[Tensor, "n"], path: str | Path
) -> Path:
    """Draws points of two classes in the plane with the line that each perceptron learnt.

    Arguments:
        runs: name → trained perceptron.
        x: n points.
        labels: n classes, 0 or 1.
        path: file to be written.

    Returns:
        The path.
    """
    figure, many = axes_of_figure(len(runs))
    end = float(x.abs().max()) * 1.1
    for axes, (name, run) in zip(many, runs.items(), strict=True):
        axes.scatter(*x.T, s=14, c=[f"C{label}" for label in labels.tolist()])
        if run.weight.any():
            foot = run.weight * run.threshold / run.weight.square().sum()
            along = torch.stack((-run.weight[1], run.weight[0]))
            axes.axline(foot.tolist(), (foot + along).tolist(), color="black")
        axes.set(xlim=(-end, end), ylim=(-end, end), aspect="equal")
        axes.set_title(f"{name}: threshold {run.threshold:.2g}, {run.mistakes[-1]} mistakes", fontsize=10)
    figure.savefig(path, dpi=120)
    return Path(path)
