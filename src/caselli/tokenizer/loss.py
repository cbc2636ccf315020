"""How far a reconstruction is from its picture, without any network's weights."""

from __future__ import annotations

import torch.nn.functional as F

from caselli.shapes import Float, Tensor


def multi_scale_loss(
    a: Float[Tensor, "B C H W"], b: Float[Tensor, "B C H W"], scales: int = 4
) -> Float[Tensor, ""]:
    r"""Mean absolute difference of values and of slopes, at full size and at halves of it.

    .. math:: \frac1S \sum_{s<S} \big\langle |d_s| \big\rangle
        + \big\langle |\partial_x d_s| \big\rangle + \big\langle |\partial_y d_s| \big\rangle,
        \qquad d_s = \text{the difference a − b averaged over squares of } 2^s

    Slopes weigh edges, coarse scales weigh shapes; both are what a mean squared error blurs. Scales smaller
    than 4 pixels are left out.

    Arguments:
        a, b: pictures of equal shape.
        scales: S, at most.

    Example:
        >>> import torch
        >>> multi_scale_loss(torch.ones(1, 1, 8, 8), torch.zeros(1, 1, 8, 8))
        tensor(1.)
    """
    difference, terms = a - b, []
    for _ in range(scales):
        terms.append(_values_and_slopes(difference))
        if min(difference.shape[2:]) < 8:
            break
        difference = F.avg_pool2d(difference, 2)
    return sum(terms) / len(terms)


def _values_and_slopes(d: Tensor) -> Tensor:
    return d.abs().mean() + d.diff(dim=2).abs().mean() + d.diff(dim=3).abs().mean()
