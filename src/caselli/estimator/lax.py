"""The score function with a learned control variate, for continuous latents."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from caselli.estimator.base import Estimate, Estimator, Function, mean_estimate
from caselli.estimator.control import Control, finish, flat
from caselli.estimator.implicit import reparameterised, rsample
from caselli.estimator.parameters import FAMILIES, leaves, moving_support, parameters, unwrap, with_parameters


class LAX(Estimator):
    r"""The score function and the pathwise gradient joined by a learned control variate.

    .. math:: \hat g = (f(z) - c_\phi(z)) \, \nabla_\theta \log p_\theta(z) + \nabla_\theta c_\phi(z_\theta)

    Unbiased for every c; `auxiliary_loss` is ĝ², whose gradient in φ is that of the variance. Cost: S
    evaluations of f, which need not be differentiable.

    Arguments:
        width: numbers in one event.
        hidden: units of the default control variate, a network with one hidden layer.
        control: another one, `n *batch width` → `n *batch`; twice differentiable.

    Source: Grathwohl et al. 2018, Backpropagation through the Void.

    Example:
        >>> p = torch.distributions.Normal(torch.zeros((), requires_grad=True), 1.0)
        >>> estimate = LAX()(lambda z: (z > 0).float(), p, samples=8)
        >>> estimate.surrogate.requires_grad, estimate.auxiliary_loss.requires_grad
        (True, True)
    """

    unbiased = True
    needs_gradient = False
    serves = FAMILIES

    def __init__(self, width: int = 1, *, hidden: int = 32, control: nn.Module | None = None) -> None:
        super().__init__()
        self.control = Control(width, hidden) if control is None else control

    @classmethod
    def _width(cls, p: Distribution) -> tuple[int, ...]:
        """All of an event's numbers."""
        return (p.event_shape.numel(),)

    def accepts(self, p: Distribution) -> bool:
        """True if p can be taken apart and reparameterised, and its support stays."""
        return reparameterised(p) and isinstance(unwrap(p), FAMILIES) and not moving_support(p)

    def estimate(self, f: Function, p: Distribution, samples: int, context: Tensor | None) -> Estimate:
        given = parameters(p)
        with torch.enable_grad():
            copies = leaves(p)
            local = with_parameters(p, copies)
            z = rsample(local, samples)
            values = self._evaluate(f, p, z.detach())
            gradients = self._gradients(values.detach(), z, local, list(copies.values()))
            carried, loss = finish(list(given.values()), gradients, self)
        return mean_estimate(values, carried, loss)

    def _gradients(self, values: Tensor, z: Tensor, p: Distribution, leaf: list[Tensor]) -> list[Tensor]:
        axes = len(p.event_shape)
        signal = values - self.control(flat(z.detach(), axes))
        total = (signal * p.log_prob(z.detach()) + self.control(flat(z, axes))).mean(0).sum()
        found = torch.autograd.grad(total, leaf, create_graph=True, allow_unused=True)
        return [torch.zeros_like(w) if g is None else g for w, g in zip(leaf, found, strict=True)]
