"""Feature maps of linear attention: what stands in for exp(q · k) as a product φ(q) · φ(k)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from caselli.shapes import Float, Tensor


def elu_plus_one(x: Float[Tensor, "*A d"]) -> Float[Tensor, "*A d"]:
    """elu(x) + 1, positive everywhere (Katharopoulos et al. 2020, Transformers are RNNs).

    Example:
        >>> elu_plus_one(torch.tensor([-1.0, 0.0, 2.0]))
        tensor([0.3679, 1.0000, 3.0000])
    """
    return F.elu(x) + 1


def squared_relu(x: Float[Tensor, "*A d"]) -> Float[Tensor, "*A d"]:
    """relu(x)², sparse and smooth at zero (So et al. 2021, Primer).

    Example:
        >>> squared_relu(torch.tensor([-1.0, 3.0]))
        tensor([0., 9.])
    """
    return F.relu(x).square()


def channel_softmax(x: Float[Tensor, "*A d"]) -> Float[Tensor, "*A d"]:
    """The softmax over a vector's channels, of q and of k apart (Shen et al. 2021, Efficient Attention).

    Example:
        >>> channel_softmax(torch.zeros(1, 4))
        tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """
    return x.softmax(-1)


def identity(x: Float[Tensor, "*A d"]) -> Float[Tensor, "*A d"]:
    """x itself: linear attention without a map, to be used without a normaliser (weights may be negative)."""
    return x


def taylor(x: Float[Tensor, "*A d"]) -> Float[Tensor, "*A f"]:
    r"""The second-order expansion of exp, exact in its inner product, with f = 1 + d + d² features.

    .. math:: \phi(q)\cdot\phi(k) = 1 + s + \tfrac12 s^2, \qquad s = q \cdot k / \sqrt d

    which is positive for every s. Source: Arora et al. 2024, Simple Linear Attention Language Models (Based).

    Example:
        >>> q, k = torch.tensor([1.0, 2.0, 0.0, 1.0]), torch.tensor([1.0, 0.0, 1.0, 1.0])
        >>> taylor(q) @ taylor(k)  # s = 1
        tensor(2.5000)
    """
    x = x * x.shape[-1] ** -0.25
    square = (x[..., :, None] * x[..., None, :]).flatten(-2) * math.sqrt(0.5)
    return torch.cat((torch.ones_like(x[..., :1]), x, square), -1)


def orthogonal_features(
    count: int, width: int, generator: torch.Generator | None = None, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "count width"]:
    """Gaussian rows, orthogonal within each square block, each with the length of a Gaussian vector.

    Arguments:
        count: number of rows m, any.
        width: d.
        generator: where the randomness comes from.

    Source: Choromanski et al. 2021, Rethinking Attention with Performers.

    Example:
        >>> rows = orthogonal_features(4, 4, torch.Generator().manual_seed(0))
        >>> (rows @ rows.T).triu(1).abs().max() < 1e-5
        tensor(True)
    """
    blocks = []
    for _ in range(0, count, width):
        gaussian = torch.randn(width, width, generator=generator, dtype=torch.float64)
        q, r = torch.linalg.qr(gaussian)
        blocks.append((q * r.diagonal().sign()).T)  # the signs make every rotation equally likely
    lengths = torch.randn(count, width, generator=generator, dtype=torch.float64).norm(dim=1, keepdim=True)
    return (torch.cat(blocks)[:count] * lengths).to(dtype)


def positive_exponents(x: Float[Tensor, "*A d"], features: Float[Tensor, "*R m d"]) -> Float[Tensor, "*A m"]:
    r"""Logarithms of FAVOR+'s positive random features.

    .. math:: \log\phi_i(x) = \omega_i \cdot \tilde x - \tfrac12 \lVert\tilde x\rVert^2 - \tfrac12 \log m,
        \qquad \tilde x = x / d^{1/4}

    E[φ(q) · φ(k)] = exp(q · k / √d) over Gaussian ω. They stay logarithms so that the caller can shift them
    before exp: a shift of a query's features, or of all keys' at once, cancels in normalised attention.

    Arguments:
        x: queries or keys.
        features: ω, m rows for each head (leading axes broadcast), from `orthogonal_features`.

    Source: Choromanski et al. 2021, Rethinking Attention with Performers.

    Example:
        >>> positive_exponents(torch.zeros(1, 2), torch.eye(2)).exp()
        tensor([[0.7071, 0.7071]])
    """
    x = x * x.shape[-1] ** -0.25
    norms = x.square().sum(-1, keepdim=True)
    return x @ features.transpose(-1, -2) - 0.5 * (norms + math.log(features.shape[-2]))


FEATURE_MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "elu": elu_plus_one,
    "relu": F.relu,
    "squared_relu": squared_relu,
    "softmax": channel_softmax,
    "identity": identity,
    "taylor": taylor,
}
"""Maps without parameters, by name; for q and for k alike."""
