"""Linear probes: the accuracy of one linear layer on a representation."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from caselli.errors import UserError
from caselli.shapes import Float, Int, Tensor


def linear_probe(
    features: Float[Tensor, "n F"],
    labels: Int[Tensor, "n"],
    held_out: Float[Tensor, "n F"],
    held_out_labels: Int[Tensor, "n"],
    *,
    decay: float = 1e-4,
    steps: int = 100,
) -> float:
    r"""The accuracy on held-out features of multinomial logistic regression on training features.

    .. math:: \min_{W, b} \; \langle -\log \mathrm{softmax}(W h + b)_y \rangle + \tfrac\lambda2 \|W\|^2

    Features are standardised by the training set's means and deviations; the minimum is found by L-BFGS from
    zero, so that the figure has no seed.

    Arguments:
        features, labels: features and labels that the probe is fitted on.
        held_out, held_out_labels: features and labels that it is judged on.
        decay: λ.
        steps: iterations, at most.

    Source: Alain and Bengio 2017, Understanding Intermediate Layers using Linear Classifier Probes.

    Example:
        >>> x, y = torch.eye(3).repeat(4, 1), torch.arange(3).repeat(4)
        >>> linear_probe(x, y, x, y)
        1.0
    """
    if len(features) != len(labels) or len(held_out) != len(held_out_labels) or not len(features):
        raise UserError(
            f"{len(features)} and {len(held_out)} features were given", "one for each label was expected"
        )
    mean, scale = features.mean(0), features.std(0, correction=0).clamp_min(1e-6)
    x, others = (features - mean) / scale, (held_out - mean) / scale
    classes = int(torch.cat([labels, held_out_labels]).max()) + 1
    with torch.enable_grad():
        weight = torch.zeros(classes, x.shape[1], dtype=x.dtype, device=x.device, requires_grad=True)
        bias = torch.zeros(classes, dtype=x.dtype, device=x.device, requires_grad=True)
        optimiser = torch.optim.LBFGS([weight, bias], max_iter=steps, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimiser.zero_grad()
            value = F.cross_entropy(x @ weight.T + bias, labels) + decay / 2 * weight.square().sum()
            value.backward()
            return value

        optimiser.step(loss)
    guessed = (others @ weight.detach().T + bias.detach()).argmax(1)
    return (guessed == held_out_labels).double().mean().item()
