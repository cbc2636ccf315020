"""Objectives that a VAE maximises, by name in `OBJECTIVES`."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import distributions as D

from caselli.divergence import DIVERGENCES, names_that_need
from caselli.divergence.base import Need
from caselli.errors import UserError, expect, lookup
from caselli.estimator import Estimator, rsample
from caselli.family.latents import Latents
from caselli.shapes import Float, Tensor

LogLikelihood = Callable[[Tensor], Tensor]
"""Latents `n B *event` → log p(x | z), `n B`."""


@dataclasses.dataclass(frozen=True)
class Bound:
    """The value of an objective, and its parts."""

    value: Float[Tensor, ""]
    """The mean over the batch in units, to be maximised; its gradient is the estimate."""
    rate: Float[Tensor, ""]
    """KL(q ‖ p), the mean over the batch in nats, detached."""
    auxiliary_loss: Float[Tensor, ""]
    """Auxiliary loss of the estimator."""


class Objective(ABC):
    """`objective(f, q, latents, estimator, unit)`, with f the log likelihood of a batch.

    Arguments:
        f: latents → log p(x | z).
        q: the posterior of a batch.
        latents: its space, with the prior.
        estimator: estimator of the gradient in q.
        unit: number of nats in one unit of the value; estimators see numbers near 1 that way.
    """

    samples: int

    @abstractmethod
    def __call__(
        self, f: LogLikelihood, q: D.Distribution, latents: Latents, estimator: Estimator, unit: float
    ) -> Bound:
        """The value that is maximised."""

    def event(self, q: D.Distribution) -> D.Distribution:
        """The distribution that the estimator is given."""
        return q

    def check(self, estimator: Estimator, latents: Latents) -> None:
        """Raises `UserError` where the estimator or the latents cannot serve."""
        if estimator.objective != "mean":
            raise UserError(
                f"estimator {type(estimator).__name__} was given with {type(self).__name__}",
                "it estimates the bound of several samples",
                "choose the objective iwae",
            )


class ELBO(Objective):
    r"""The evidence lower bound, with weight and free bits.

    .. math:: E_q[\log p(x \mid z)] - \beta \sum_j \max\big(\lambda, \langle\mathrm{KL}_j\rangle\big)

    KL_j, of latent j, is in closed form and averaged over the batch before λ is compared.

    Arguments:
        samples: of q for each picture.
        beta: β; 1 for the bound itself.
        free_bits: λ in nats a latent; below it the divergence costs nothing more.

    Sources: Kingma and Welling 2014; Higgins et al. 2017, beta-VAE; Kingma et al. 2016 (free bits).
    """

    def __init__(self, samples: int = 1, *, beta: float = 1.0, free_bits: float = 0.0) -> None:
        expect(samples >= 1, "samples", samples, "at least 1")
        expect(free_bits >= 0, "free_bits", free_bits, "0 or more")
        self.samples, self.beta, self.free_bits = samples, beta, free_bits

    def __call__(
        self, f: LogLikelihood, q: D.Distribution, latents: Latents, estimator: Estimator, unit: float
    ) -> Bound:
        estimate = estimator(lambda z: f(z) / unit, q, self.samples)
        each = latents.divergence(q).flatten(1).mean(0)
        cost = each.clamp_min(self.free_bits).sum() if self.free_bits else each.sum()
        value = estimate.surrogate / q.batch_shape.numel() - self.beta * cost / unit
        return Bound(value, each.sum().detach(), estimate.auxiliary_loss)


class IWAE(Objective):
    r"""The importance-weighted bound of K samples.

    .. math:: E\Big[\log \frac1K \sum_k w_k\Big], \qquad w_k = \frac{p(x \mid z_k)\, p(z_k)}{q(z_k \mid x)}

    The K samples of a picture are one event to the estimator, so that any of them serves; `vimco` takes them
    apart itself.

    Arguments:
        samples: K.

    Source: Burda, Grosse and Salakhutdinov 2016, Importance Weighted Autoencoders.
    """

    def __init__(self, samples: int = 8) -> None:
        expect(samples >= 1, "samples", samples, "at least 1")
        self.samples = samples

    def __call__(
        self, f: LogLikelihood, q: D.Distribution, latents: Latents, estimator: Estimator, unit: float
    ) -> Bound:
        p = latents.prior()

        def log_weights(z: Tensor) -> Tensor:
            return f(z) + p.log_prob(z) - q.log_prob(z)

        def joined(z: Tensor) -> Tensor:
            each = z.movedim(-len(q.event_shape) - 1, 1)  # n K B *event
            values = log_weights(each.flatten(0, 1)).unflatten(0, each.shape[:2])
            return (values.logsumexp(1) - math.log(self.samples)) / unit

        count = q.batch_shape.numel()
        rate = latents.divergence(q).flatten(1).sum(1).mean().detach()
        if estimator.objective == "log_mean_exp":
            estimate = estimator(log_weights, q, self.samples)
            return Bound(estimate.surrogate / (count * unit), rate, estimate.auxiliary_loss)
        estimate = estimator(joined, self.event(q), 1)
        return Bound(estimate.surrogate / count, rate, estimate.auxiliary_loss)

    def event(self, q: D.Distribution) -> D.Distribution:
        """K independent copies of q as one event, `B` with event `K *event`."""
        base = q.base_dist.expand((self.samples, *q.base_dist.batch_shape))
        parameters = {k: v.movedim(0, 1) for k, v in _parameters(base).items()}
        copies = type(base)(**parameters, validate_args=False)
        return D.Independent(copies, q.reinterpreted_batch_ndims + 1, validate_args=False)

    def check(self, estimator: Estimator, latents: Latents) -> None:
        """Every estimator serves."""


class InfoVAE(Objective):
    r"""The bound with less of the divergence of each posterior, and one of all of them together.

    .. math:: E_q[\log p(x \mid z)] - (1 - \alpha)\,\mathrm{KL}(q(z \mid x) \| p(z))
        - (\alpha + \lambda - 1)\, D(q(z) \| p(z))

    α = 1 and λ = 1 are the Wasserstein autoencoder; `sliced_wasserstein` and `sinkhorn` in place of `mmd` its
    variants. D is taken between one sample a picture and as many of the prior.

    Arguments:
        samples: of q for each picture.
        alpha, scale: α and λ.
        divergence: a name in `DIVERGENCES` that compares two sets of samples.
        options: its own arguments; by default `mmd` takes the median distance for its kernel's bandwidth.

    Sources: Zhao, Song and Ermon 2019, InfoVAE; Tolstikhin et al. 2018, Wasserstein Auto-Encoders; Kolouri et
    al. 2019, Sliced Wasserstein Auto-Encoders.
    """

    def __init__(
        self,
        samples: int = 1,
        *,
        alpha: float = 0.0,
        scale: float = 10.0,
        divergence: str = "mmd",
        options: dict[str, Any] | None = None,
    ) -> None:
        kind = lookup(DIVERGENCES, "divergence", divergence)
        if kind.needs is not Need.TWO_SAMPLES:
            raise UserError(
                f"divergence {divergence!r} was given for the latents",
                "one of two sets of samples was expected",
                f"these fit: {', '.join(names_that_need(Need.TWO_SAMPLES))}",
            )
        self.samples, self.alpha, self.scale = samples, alpha, scale
        self.divergence = kind.of_any_scale(**(options or {}))

    def __call__(
        self, f: LogLikelihood, q: D.Distribution, latents: Latents, estimator: Estimator, unit: float
    ) -> Bound:
        estimate = estimator(lambda z: f(z) / unit, q, self.samples)
        rate = latents.divergence(q).flatten(1).sum(1).mean()
        z, others = rsample(q, 1)[0], latents.prior().sample(q.batch_shape)
        aggregate = self.divergence(others.flatten(1), z.flatten(1)).value
        likelihood = estimate.surrogate / q.batch_shape.numel()
        cost = (1 - self.alpha) * rate + (self.alpha + self.scale - 1) * aggregate
        value = likelihood - cost / unit
        return Bound(value, rate.detach(), estimate.auxiliary_loss)

    def check(self, estimator: Estimator, latents: Latents) -> None:
        """Latents without gradients cannot be matched as a set."""
        super().check(estimator, latents)
        if not latents.posterior(torch.zeros(1, latents.inputs)).has_rsample:
            raise UserError(
                f"{type(latents).__name__} were given with InfoVAE",
                "samples with gradients were expected",
                "choose gaussian latents, or the objective elbo",
            )


def _parameters(base: D.Distribution) -> dict[str, Tensor]:
    names = ("loc", "scale") if isinstance(base, D.Normal) else ("logits",)
    return {name: getattr(base, name) for name in names}


OBJECTIVES: dict[str, type[Objective]] = {"elbo": ELBO, "iwae": IWAE, "info_vae": InfoVAE}
"""The objectives by name."""
