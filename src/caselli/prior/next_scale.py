"""A distribution over the codes of a multi-scale quantizer, a whole scale at a time."""

from __future__ import annotations

import copy
import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from caselli.errors import UnknownName, UserError
from caselli.mixer import Mixer
from caselli.mixer.dense import Dense
from caselli.mixer.full import FullAttention
from caselli.ops import attention, full_precision
from caselli.plain import options_of
from caselli.prior.base import SequencePrior
from caselli.prior.config import Alphabet, PriorConfig
from caselli.prior.drawing import Drawing
from caselli.quantizer import Quantizer
from caselli.quantizer.multi_scale import MultiScale
from caselli.shapes import Float, Int, Tensor


class ScaleAttention(FullAttention):
    """Softmax attention of every token to its own scale and to all coarser ones.

    Arguments:
        width: E.
        lengths: tokens of each scale, coarse to fine.
        options: see `caselli.mixer.full.FullAttention`.

    Example:
        >>> mixer = ScaleAttention(64, lengths=(1, 4))
        >>> mixer(torch.zeros(2, 5, 64))[0].shape
        torch.Size([2, 5, 64])
    """

    def __init__(self, width: int, *, lengths: tuple[int, ...], rotary_base: float = 0.0, **options) -> None:
        super().__init__(width, rotary_base=rotary_base, **options)
        scale = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
        self.register_buffer("scale", scale, persistent=False)

    def attend(self, q, k, v, begin):
        end = k.shape[2]
        seen = self.scale[:end] <= self.scale[end - q.shape[2] : end, None]
        return attention(q, k, v, seen[None, None])


@dataclasses.dataclass(frozen=True)
class NextScaleOptions:
    """Options of a next-scale prior."""

    label_first: bool = False
    """True where the label's vector is the first scale's single token, rather than one in front of it."""
    levels: bool = False
    """True for a learned vector of each scale, beside those of the places."""


class NextScale(SequencePrior):
    r"""All codes of a scale at once, given those of the coarser scales.

    .. math:: \log p(x \mid c) = \sum_s \sum_j \log p(x_{s, j} \mid c, x_{<s})

    The inputs of a scale are the sum of the latents of all coarser codes, resized to that scale, so that the
    prior works on the picture drawn so far and has no embedding of codes. Attention goes within a scale and
    to all coarser ones. The prior keeps a frozen copy of the quantizer, which gives those latents.

    Arguments:
        config: the architecture; its mixer is attention. See `NextScaleOptions`.
        alphabet: slots, codebooks and conditions.
        quantizer: a `MultiScale`, the one that made the codes.

    Errors: `UserError` for another quantizer or mixer.

    Source: Tian et al. 2024, Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale
    Prediction.

    Example:
        >>> quantizer = MultiScale(width=8, scales=(1, 2), options={"codebook_size": 16})
        >>> config = PriorConfig(kind="next_scale", width=32, depth=1)
        >>> prior = NextScale(config, Alphabet((16,), (0,) * 5), quantizer)
        >>> prior.log_prob(torch.zeros(2, 5, dtype=torch.int64), None).shape
        torch.Size([2, 5])
    """

    kind = "next_scale"
    options_kind = NextScaleOptions
    embeds_codes = False
    needs_quantizer = True

    def __init__(self, config: PriorConfig, alphabet: Alphabet, quantizer: Quantizer | None = None) -> None:
        if not isinstance(quantizer, MultiScale):
            raise UserError(
                f"a next-scale prior over {type(quantizer).__name__} codes was asked for",
                "codes of a multi-scale quantizer were expected",
                "train the tokenizer with --tokenizer.quantizer multi_scale",
            )
        if set(config.mixers()) != {"attention"}:
            raise UserError(f"mixer {config.mixer!r} was given", "a next-scale prior has attention")
        self.lengths = quantizer.lengths
        super().__init__(config, alphabet, sum(self.lengths))
        if self.options.label_first and (self.lengths[0] != 1 or self.conditioner.length != 1):
            raise UserError(
                "label_first was given for a first scale of several tokens, or with other conditions",
                "a first scale of one token and labels alone were expected",
            )
        self.quantizer = copy.deepcopy(quantizer).requires_grad_(False)
        self.input = Dense(quantizer.width, config.width)
        self.level = nn.Embedding(len(self.lengths), config.width) if self.options.levels else None
        self.start = nn.Parameter(torch.zeros(1, config.width)) if self.options.label_first else None
        place = torch.tensor([column for _, column in alphabet.places] or range(alphabet.length))
        table = torch.empty(len(alphabet.sizes), sum(self.lengths), dtype=torch.int64)
        table[torch.tensor(alphabet.codebooks), place] = torch.arange(alphabet.length)
        self.register_buffer("place", place, persistent=False)
        self.register_buffer("slots", table, persistent=False)

    def mixers(self) -> list[Mixer]:
        options, known = self.config.mixer_options, options_of(ScaleAttention)
        for name in options:
            if name not in known or name == "lengths":
                raise UnknownName("mixer option", name, [option for option in known if option != "lengths"])
        front = 0 if self.options.label_first else self.conditioner.length
        lengths = (front + self.lengths[0], *self.lengths[1:])
        return [
            ScaleAttention(self.config.width, lengths=lengths, **options) for _ in range(self.config.depth)
        ]

    # the distribution ---------------------------------------------------------------------------------------

    def log_prob(self, sequence, condition, seen=None):
        logits = self.logits(sequence if seen is None else seen, condition)
        return self.code_head.log_prob(logits, sequence, slice(None))

    def logits(self, sequence, condition) -> Float[Tensor, "B T F"]:
        """Parameters of the head's distribution of every slot, see `SequencePrior.outputs`."""
        total, inputs = self._blank(len(sequence)), []
        for scale in range(len(self.lengths)):
            inputs.append(self._inputs(total, scale) if scale else self._first(total, condition))
            if scale + 1 < len(self.lengths):
                total = total + self._added(sequence, scale)
        x = torch.cat(inputs, 1)
        y, _ = self.through(x, modulating=self.modulating(condition, len(sequence)))
        return self.outputs(y[:, -sum(self.lengths) :][:, self.place], slice(None))

    def _blank(self, batch: int) -> Float[Tensor, "B D H W"]:
        """Latents before the first scale: zeros."""
        return self.position.weight.new_zeros(batch, self.quantizer.width, *self.quantizer.scales[-1])

    def _inputs(self, total: Float[Tensor, "B D H W"], scale: int) -> Float[Tensor, "B n E"]:
        """Input vectors of a scale: the latents so far, resized to it."""
        latents = F.interpolate(total, self.quantizer.scales[scale], mode="area").flatten(2).transpose(1, 2)
        return self.input(latents) + self._places(scale)

    def _first(self, total: Float[Tensor, "B D H W"], condition) -> Float[Tensor, "B n E"]:
        """Input vectors of the conditions and of the first scale."""
        prefix = self.prefix(condition, len(total))
        if self.options.label_first:
            return prefix + self.start + self._places(0)
        return torch.cat((prefix, self._inputs(total, 0)), 1)

    def _places(self, scale: int) -> Float[Tensor, "n E"]:
        """Vectors of the places of a scale."""
        places = self.position.weight[self._range(scale)]
        return places if self.level is None else places + self.level.weight[scale]

    @torch.no_grad()
    def _added(self, sequence: Int[Tensor, "B T"], scale: int) -> Float[Tensor, "B D H W"]:
        """Latents of the codes of one scale, at the finest scale's size."""
        codes = sequence[:, self.slots[:, self._range(scale)]].unflatten(-1, self.quantizer.scales[scale])
        with full_precision(codes):
            latents = self.quantizer.shared.decode(codes if len(self.slots) > 1 else codes[:, 0])
            return self.quantizer.up(latents, scale).to(self.position.weight.dtype)

    def _range(self, scale: int) -> slice:
        """Index range of a scale's tokens."""
        first = sum(self.lengths[:scale])
        return slice(first, first + self.lengths[scale])

    # drawing ------------------------------------------------------------------------------------------------

    def rounds(self, steps: int = 0) -> int:
        return len(self.lengths)

    def draw(self, drawing: Drawing) -> int:
        told = drawing.row_conditions()
        modulating = self.modulating(told, drawing.rows)
        layers = self.initial_states(drawing.rows, sum(self.lengths))
        total = self._blank(len(drawing.codes))
        for scale, length in enumerate(self.lengths):
            seen = drawing.in_rows(total)
            x = self._inputs(seen, scale) if scale else self._first(seen, told)
            y, layers = self.through(x, layers, modulating)
            slots = self.slots[:, self._range(scale)].flatten()
            y = y[:, -length:].repeat(1, len(self.slots), 1)
            logits, noise = self.outputs(y, slots), drawing.uniform[:, slots]
            drawing.fill(slots, drawing.drawn(self.code_head, logits, slots, scale, noise))
            total = total + self._added(drawing.codes, scale)
        return sum(tensor.nbytes for state in layers for tensor in state.tensors())
