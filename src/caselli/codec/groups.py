"""Pictures of one size ⟷ streams of bytes, with a trained run."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import torch

from caselli.codec.coder import Decoders, Encoders
from caselli.codec.container import Group, agree, checksum
from caselli.codec.lossless import damaged
from caselli.codec.pixels import Pixels
from caselli.codec.reproducible import Reproducible, reproducible
from caselli.codec.residual import ResidualModel
from caselli.codec.sequences import Sequences
from caselli.codec.tiling import joined, tiles
from caselli.data import to_bytes, to_float
from caselli.errors import UserError
from caselli.model import Model
from caselli.shapes import Float, Int, Shaped, Tensor

TOGETHER = 32
"""Number of pictures that the tokenizer takes at a time."""

Progress = Callable[[float], None]


class GroupCoder:
    """Codes groups: pictures of one size that share a stream.

    Arguments:
        model: tokenizer and prior.
        residual: distribution of the pixels given the reconstruction; the kind `exact` needs it.
        batch: sequences computed together; no byte depends on it.
    """

    def __init__(self, model: Model, residual: ResidualModel | None = None, batch: int = 256) -> None:
        self.model, self.residual = model, residual
        self.sequences = Sequences(model.require_prior(), batch)
        self.pixels = None if residual is None else Pixels(residual)
        self.tokenizer = copy.deepcopy(model.tokenizer).double().eval()
        self.mode = Reproducible(self.tokenizer)

    def area(self, height: int, width: int) -> int:
        """Number of pixels of the tiles that cover a picture."""
        return self._tiles(height, width) * self.model.size**2

    def _tiles(self, height: int, width: int) -> int:
        size = self.model.size
        return -(-height // size) * -(-width // size)

    # encoding -----------------------------------------------------------------------------------------------

    def encode(
        self,
        stack: Shaped[Tensor, "B C H W"],
        kind: str,
        streams: Int[Tensor, "B"],
        progress: Progress = lambda done: None,
    ) -> list[tuple[Group, float]]:
        """A group for each stream, with the bits that the models give it.

        Arguments:
            stack: pictures, uint8; of the model's size for the kind `codes`.
            kind: `codes`, or `exact`, however many bytes it takes.
            streams: number of each picture's stream, ascending: all 0 for one group of all pictures, or
                0, 1, 2, … for a group of each.
            progress: called with the number of pictures that are done.
        """
        encoders = Encoders(int(streams[-1]) + 1)
        if kind == "codes":
            content = self._codes(stack)
            bits = self.sequences.encode(content, encoders, streams, progress)
        else:
            content = stack
            pixels, codes = self._tiled(stack)
            owners = streams.repeat_interleave(len(codes) // len(stack))
            bits = self.sequences.encode(codes, encoders, owners).view(len(stack), -1).sum(1)
            shown = joined(self.shown(codes), *stack.shape[2:])
            bits += self._pixels().encode(pixels.long(), shown.long(), encoders, streams, progress)
        counts = streams.bincount().tolist()
        parts = zip(content.split(counts), bits.split(counts), encoders.bytes(), strict=True)
        shape = tuple(stack.shape[1:])
        return [
            (Group(kind, *shape, len(own), _checksum(own, kind), data), float(cost.sum()))
            for own, cost, data in parts
        ]

    @torch.no_grad()
    def exact_bits(self, stack: Shaped[Tensor, "B C H W"]) -> Float[Tensor, "B"]:
        """The bits of each picture as `exact`, to about half a per cent, in ordinary and much faster
        arithmetic: to choose by."""
        pixels, codes = self._tiled(stack)
        prior, grids = self.model.require_prior(), self.model.order.restore(codes, self.model.grid)
        nats = [-prior.log_prob(part.to(self.model.device), None).sum(1) for part in codes.split(TOGETHER)]
        shown = torch.cat([to_bytes(self.model.decode(part).cpu()) for part in grids.split(TOGETHER)])
        bits = torch.cat(nats).double().cpu().view(len(stack), -1).sum(1) / math.log(2)
        return bits + self._pixels().bits(pixels.long(), joined(shown, *stack.shape[2:]).long())

    def _tiled(self, stack: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels in the model's channels, and the codes of their tiles."""
        pixels = stack.expand(-1, self.model.tokenizer.config.channels, -1, -1)
        return pixels, self._codes(tiles(pixels, self.model.size))

    def _codes(self, stack: Tensor) -> Int[Tensor, "B T"]:
        parts = [self.model.encode(to_float(part)).cpu() for part in stack.split(TOGETHER)]
        return self.model.order.flatten(torch.cat(parts), self.model.grid)

    def shown(self, codes: Int[Tensor, "B T"]) -> Shaped[Tensor, "B C H W"]:
        """The reconstruction, in arithmetic that gives the same bits anywhere."""
        grids = self.model.order.restore(codes, self.model.grid)
        parts = []
        for part in grids.split(TOGETHER):
            with reproducible(self.mode):
                decoded = self.tokenizer.decode(part.to(self.model.device))
            parts.append(to_bytes(decoded).cpu())
        return torch.cat(parts)

    # decoding -----------------------------------------------------------------------------------------------

    def decode(
        self, groups: Sequence[Group], progress: Progress = lambda done: None
    ) -> list[Shaped[Tensor, "B C H W"]]:
        """The pictures of each group, uint8; all groups are of one kind, and are computed together.

        Errors: `UserError` for damaged data, and where the arithmetic was another.
        """
        for group in groups:
            self._fits(group)
        decoders, codes_only = Decoders([group.data for group in groups]), groups[0].kind == "codes"
        counts = [group.count * self._tiles(group.height, group.width) for group in groups]
        owners = torch.arange(len(groups)).repeat_interleave(torch.tensor(counts))
        sequences = self.sequences.decode(decoders, owners, progress if codes_only else lambda done: None)
        _whole(decoders)
        codes = sequences.split(counts)
        if not codes_only:
            return self._decoded_pixels(groups, codes, decoders, progress)
        for group, own in zip(groups, codes, strict=True):
            agree(_checksum(own, "codes"), group)
        grids = self.model.order.restore(sequences, self.model.grid)
        pictures = torch.cat([to_bytes(self.model.decode(part).cpu()) for part in grids.split(TOGETHER)])
        return list(pictures.split(counts))

    def _fits(self, group: Group) -> None:
        """Raises `UserError` for a group that is none of this model's."""
        size, channels = self.model.size, self.model.tokenizer.config.channels
        if group.kind == "codes" and (group.height, group.width, group.channels) != (size, size, channels):
            raise damaged("its size is not the model's")
        if group.channels not in (1, channels):
            raise damaged("its channels are not the model's")

    def _decoded_pixels(
        self, groups: Sequence[Group], codes: Sequence[Tensor], decoders: Decoders, progress: Progress
    ) -> list[Tensor]:
        """Pictures of one size are computed together."""
        network, found = self._pixels(), {}
        sizes = dict.fromkeys((group.height, group.width) for group in groups)
        for height, width in sizes:
            own = [i for i, group in enumerate(groups) if (group.height, group.width) == (height, width)]
            counts = [groups[i].count for i in own]
            streams = torch.tensor(own).repeat_interleave(torch.tensor(counts))
            shown = joined(self.shown(torch.cat([codes[i] for i in own])), height, width)
            pixels = network.decode(shown.long(), decoders, streams, progress).to(torch.uint8)
            found.update(zip(own, pixels.split(counts), strict=True))
        _whole(decoders)
        pictures = [found[i][:, : group.channels].contiguous() for i, group in enumerate(groups)]
        for group, own in zip(groups, pictures, strict=True):
            agree(_checksum(own, "exact"), group)
        return pictures

    def _pixels(self) -> Pixels:
        self.require_residual()
        return self.pixels

    def require_residual(self) -> ResidualModel:
        """The residual model.

        Errors: `UserError` where the run has none.
        """
        if self.residual is None:
            raise UserError(
                "this run has no residual model yet",
                "the kind exact needs one",
                "learn it with `caselli residual RUN SOURCE`",
            )
        return self.residual


def _checksum(content: Tensor, kind: str) -> int:
    """Check sum of a group's codes, or of its pixels."""
    plain = content.to(torch.int32) if kind == "codes" else content
    return checksum(plain.contiguous().numpy().tobytes())


def _whole(decoders: Decoders) -> None:
    """Raises `UserError` for a stream that no encoder can have written."""
    if bool(decoders.broken.any()):
        raise damaged("its stream is wrong")
