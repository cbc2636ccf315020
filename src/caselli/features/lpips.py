"""Learned perceptual distance of pictures, from published weights in local files."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

from caselli.errors import MissingExtra, UserError
from caselli.features.frozen import Frozen
from caselli.features.vgg import VGG16, VGG_WIDTHS
from caselli.shapes import Float, Tensor
from caselli.weights import read_weights

HEADS_SOURCE = "https://github.com/richzhang/PerceptualSimilarity (lpips/weights/v0.1/vgg.pth)"


class LPIPS(Frozen):
    r"""Learned perceptual distance: 0 for equal pictures, around 0.7 for unlike ones.

    .. math:: d(a, b) = \sum_l \frac{1}{H_l W_l} \sum_{hw} w_l \cdot
        \left(\frac{a_l}{\lVert a_l \rVert} - \frac{b_l}{\lVert b_l \rVert}\right)^2

    over the five levels l of VGG-16, norms over channels. Differentiable in both pictures, so it serves as a
    loss; always in evaluation mode, whatever holds it: its dropout would make the distance random.

    Arguments:
        network: VGG-16.
        heads: the five weights w, `1 C 1 1` each.

    Source: Zhang, Isola, Efros, Shechtman, Wang (2018), The unreasonable effectiveness of deep features as a
    perceptual metric.

    Example:
        >>> heads = [torch.ones(1, width, 1, 1) for width in VGG_WIDTHS]
        >>> x = torch.rand(2, 1, 16, 16)
        >>> LPIPS(VGG16(), heads)(x, x)
        tensor([0., 0.])
    """

    def __init__(self, network: VGG16, heads: list[Tensor]) -> None:
        super().__init__()
        self.network = network
        for level, head in enumerate(heads):
            self.register_buffer(f"head{level}", head)
        self.freeze()

    @classmethod
    def load(cls, network: str | Path, heads: str | Path | None = None) -> LPIPS:
        """From local files: VGG-16 in torchvision's layout, and the heads in the published layout, which the
        `metrics` extra brings along."""
        weights = read_weights(heads or installed_heads(), "LPIPS", HEADS_SOURCE)
        names = [f"lin{level}.model.1.weight" for level in range(len(VGG_WIDTHS))]
        shapes = [tuple(weights[name].shape) if name in weights else None for name in names]
        if shapes != [(1, width, 1, 1) for width in VGG_WIDTHS]:
            raise UserError(
                f"{heads} was given as LPIPS heads, with {shapes}",
                f"{names[0]} and so on, for VGG-16's widths {VGG_WIDTHS}, were expected",
                HEADS_SOURCE,
            )
        return cls(VGG16.load(network), [weights[name] for name in names])

    def forward(self, a: Float[Tensor, "B C H W"], b: Float[Tensor, "B C H W"]) -> Float[Tensor, "B"]:
        distance = torch.zeros(len(a), device=a.device, dtype=a.dtype)
        pairs = zip(self.network.levels(a), self.network.levels(b), strict=True)
        for level, (x, y) in enumerate(pairs):
            gap = (unit(x) - unit(y)).square()
            distance = distance + (gap * self.get_buffer(f"head{level}")).sum(1).mean((1, 2))
        return distance


def installed_heads() -> Path:
    """The heads for VGG-16 that come with torchmetrics, without importing it."""
    found = importlib.util.find_spec("torchmetrics")
    if found is None or found.origin is None:
        raise MissingExtra("LPIPS without a file of heads", "torchmetrics", "metrics")
    return Path(found.origin).parent / "functional" / "image" / "lpips_models" / "vgg.pth"


def unit(x: Tensor) -> Tensor:
    """Each position's channels at length one; a little above zero, so that the gradient is finite."""
    return x * torch.rsqrt(x.square().sum(1, keepdim=True) + 1e-8)
