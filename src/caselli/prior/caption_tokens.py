"""Captions whose tokens all stand in front of a sequence, as a pretrained encoder sees them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from caselli.errors import UserError
from caselli.mixer.dense import Dense
from caselli.prior.conditions import Conditions
from caselli.prior.config import Alphabet, PriorConfig
from caselli.shapes import Bool, Float, Int, Tensor


class CaptionTokens(nn.Module):
    r"""A caption → the L vectors in front of a sequence, one for each token of a pretrained text encoder.

    .. math:: v_t = W_2\,\mathrm{GELU}(W_1\,f_t)

    with f the encoder's features; a caption that is left out has features of its own. A shorter caption
    stands at the end, behind places that no later vector sees, see `starts`.

    Arguments:
        config: the prior's configuration.
        alphabet: with captions of a pretrained encoder, and without labels.

    Errors: `UserError` for another alphabet.

    Source: Sun et al. 2024, Autoregressive Model Beats Diffusion: Llama for Scalable Image Generation.
    """

    padded = True

    def __init__(self, config: PriorConfig, alphabet: Alphabet) -> None:
        super().__init__()
        if alphabet.text is None or alphabet.classes or alphabet.picture:
            raise UserError(
                "text_form tokens was given for pictures without captions, or with other conditions too",
                "captions alone were expected",
                "leave labels and other pictures out, or take text_form summary",
            )
        self.length, self.encoder = alphabet.text.length, alphabet.text.encoder()
        width = self.encoder.width
        self.up, self.down = (
            Dense(width, config.width, bias=False),
            Dense(config.width, config.width, bias=False),
        )
        self.register_buffer("null", torch.zeros(self.length, width))

    def start(self) -> None:
        """Initialises with small random values; the features of no caption are not trained."""
        nn.init.normal_(self.null, std=self.null.shape[1] ** -0.5)
        for layer in (self.up, self.down):
            nn.init.normal_(layer.weight, std=0.02)

    def forward(self, conditions: Conditions, batch: int) -> Float[Tensor, "B L E"]:
        """The vectors in front of the sequence.

        Errors: `UserError` for a part that the prior was not trained with.
        """
        text = self._text(conditions, batch)
        shown = text.clamp_min(0)
        features = self.encoder((shown - 1).clamp_min(0), _some(shown > 0).long()).to(self.null.dtype)
        begin = self.length - (shown > 0).sum(1, keepdim=True)
        index = (torch.arange(self.length, device=text.device) - begin) % self.length
        turned = features.gather(1, index[..., None].expand_as(features))
        there = (shown > 0).any(1)[:, None, None]
        return self.down(F.gelu(self.up(torch.where(there, turned, self.null)), approximate="tanh"))

    def starts(self, conditions: Conditions, batch: int) -> Bool[Tensor, "B L"]:
        """True at the first token of a caption that is shorter than L, or was before it was left out."""
        text = self._text(conditions, batch)
        begin = self.length - (text != 0).sum(1, keepdim=True)
        return torch.arange(self.length, device=text.device) == begin

    def _text(self, conditions: Conditions, batch: int) -> Int[Tensor, "B L"]:
        if conditions.codes is not None:
            raise UserError(
                "another picture was given to a prior that was trained without", "a caption was expected"
            )
        if conditions.text is None:
            return torch.zeros(batch, self.length, dtype=torch.int64, device=self.null.device)
        return conditions.text

    def at_places(self, conditions: Conditions, batch: int) -> None:
        """None: the slots themselves are given nothing."""

    def hidden_matrices(self) -> list[nn.Parameter]:
        """The weights of linear layers whose inputs and outputs are hidden."""
        return [self.down.weight]


def _some(mask: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
    """A mask with a token at least in each row: nothing would be a softmax of nothing."""
    return mask | (torch.arange(mask.shape[1], device=mask.device) == 0)
