"""Pictures of one size ⟷ one stream, with a trained run."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch

from caselli.codec.coder import Decoder, Decoders, Encoder, Encoders
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
"""Pictures that the tokenizer takes at a time."""

Progress = Callable[[float], None]


class GroupCoder:
    """Codes groups of pictures of one size, whatever it takes.

    Arguments:
        model: tokenizer and prior.
        residual: what `exact` needs beside them.
        batch: sequences computed together; no byte depends on it.
    """

    def __init__(self, model: Model, residual: ResidualModel | None = None, batch: int = 256) -> None:
        self.model, self.residual = model, residual
        self.sequences = Sequences(model.require_prior(), batch)
        self.pixels = None if residual is None else Pixels(residual)
        self.tokenizer = copy.deepcopy(model.tokenizer).double().eval()
        self.mode = Reproducible(self.tokenizer)

    def area(self, height: int, width: int) -> int:
        """Pixels of the tiles that a picture takes."""
        size = self.model.size
        return -(-height // size) * -(-width // size) * size * size

    # encoding -----------------------------------------------------------------------------------------------

    def encode_codes(
        self, stack: Shaped[Tensor, "B C H W"], progress: Progress = lambda done: None
    ) -> tuple[Group, Tensor]:
        """Pictures of the model's size as one group of the kind `codes`; the bits of each."""
        codes, encoder = self._codes(stack), Encoder()
        bits = self.sequences.encode(codes, encoder, progress)
        return _group("codes", stack, codes, encoder), bits

    def encode_exact(
        self, stack: Shaped[Tensor, "B C H W"], progress: Progress = lambda done: None
    ) -> tuple[Group, Tensor]:
        """Pictures of one size as one group of the kind `exact`, whatever it takes; the bits of each."""
        network, encoder, count = self._pixels(), Encoder(), len(stack)
        pixels, codes = self._tiled(stack)
        bits = self.sequences.encode(codes, encoder).view(count, -1).sum(1)
        shown = joined(self.shown(codes), count, *stack.shape[2:])
        own = network.encode(pixels.long(), shown.long(), encoder, lambda share: progress(share * count))
        return _group("exact", stack, stack, encoder), bits + own

    @torch.no_grad()
    def exact_bits(self, stack: Shaped[Tensor, "B C H W"]) -> Float[Tensor, "B"]:
        """Nearly what `encode_exact` takes for each, in ordinary arithmetic and much faster: to choose by."""
        pixels, codes = self._tiled(stack)
        prior, grids = self.model.require_prior(), self.model.order.restore(codes, self.model.grid)
        nats = [-prior.log_prob(part.to(self.model.device), None).sum(1) for part in codes.split(TOGETHER)]
        shown = torch.cat([to_bytes(self.model.decode(part).cpu()) for part in grids.split(TOGETHER)])
        shown = joined(shown, len(stack), *stack.shape[2:])
        bits = torch.cat(nats).double().cpu().view(len(stack), -1).sum(1) / math.log(2)
        return bits + self._pixels().bits(pixels.long(), shown.long())

    def encode_each(
        self, stack: Shaped[Tensor, "B C H W"], kind: str, progress: Progress = lambda done: None
    ) -> list[tuple[Group, float]]:
        """Pictures of one size, each a group of its own, with its bits."""
        encoders, alone = [Encoder() for _ in stack], stack.split(1)
        if kind == "codes":
            codes = self._codes(stack)
            bits = self.sequences.encode(codes, Encoders(encoders), progress).tolist()
            groups = [_group(kind, *one) for one in zip(alone, codes.split(1), encoders, strict=True)]
            return list(zip(groups, bits, strict=True))
        network = self._pixels()
        pixels, codes = self._tiled(stack)
        each = len(codes) // len(stack)
        owners = Encoders([encoder for encoder in encoders for _ in range(each)])
        bits = self.sequences.encode(codes, owners).view(len(stack), each).sum(1)
        shown = joined(self.shown(codes), len(stack), *stack.shape[2:])
        for i, encoder in enumerate(encoders):
            bits[i] += network.encode(pixels[i : i + 1].long(), shown[i : i + 1].long(), encoder).sum()
            progress(1)
        groups = [_group(kind, one, one, encoder) for one, encoder in zip(alone, encoders, strict=True)]
        return list(zip(groups, bits.tolist(), strict=True))

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

    def decode(self, group: Group, progress: Progress = lambda done: None) -> Shaped[Tensor, "B C H W"]:
        """A group's pictures, uint8.

        Errors: `UserError` for damaged data, and where the arithmetic was another.
        """
        self._fits(group)
        decoder = Decoder(group.data)
        if group.kind == "codes":
            return self._shown_as_usual(self.sequences.decode(group.count, decoder, progress), [group])
        codes = self.sequences.decode(group.count * self._tiles(group), decoder)
        return self._decoded_pixels(group, codes, decoder, progress)

    def decode_together(self, groups: list[Group], progress: Progress) -> list[Tensor]:
        """The pictures of groups of one kind and one picture each."""
        for group in groups:
            self._fits(group)
        each, counts = [Decoder(group.data) for group in groups], list(map(self._tiles, groups))
        decoders = Decoders([d for d, count in zip(each, counts, strict=True) for _ in range(count)])
        codes = self.sequences.decode(sum(counts), decoders)
        if bool(decoders.broken.any()):
            raise damaged("its stream is wrong")
        if groups[0].kind == "codes":
            progress(len(groups))
            return list(self._shown_as_usual(codes, groups).split(1))
        parts = zip(groups, codes.split(counts), each, strict=True)
        return [self._decoded_pixels(group, own, decoder, progress) for group, own, decoder in parts]

    def _fits(self, group: Group) -> None:
        """Raises `UserError` for a group that is none of this model's."""
        size, channels = self.model.size, self.model.tokenizer.config.channels
        if group.kind == "codes" and (group.height, group.width, group.channels) != (size, size, channels):
            raise damaged("its size is not the model's")
        if group.channels not in (1, channels):
            raise damaged("its channels are not the model's")

    def _tiles(self, group: Group) -> int:
        return self.area(group.height, group.width) // self.model.size**2

    def _shown_as_usual(self, codes: Int[Tensor, "B T"], groups: list[Group]) -> Tensor:
        """What `reconstruct` shows of codes that are as they were."""
        parts = codes.split([group.count for group in groups])
        for part, group in zip(parts, groups, strict=True):
            agree(checksum(part.to(torch.int32).numpy().tobytes()), group)
        grids = self.model.order.restore(codes, self.model.grid)
        return torch.cat([to_bytes(self.model.decode(part).cpu()) for part in grids.split(TOGETHER)])

    def _decoded_pixels(
        self, group: Group, codes: Int[Tensor, "n T"], decoder: Decoder, progress: Progress
    ) -> Tensor:
        network, count = self._pixels(), group.count
        shown = joined(self.shown(codes), count, group.height, group.width)
        pixels = network.decode(shown.long(), decoder, lambda share: progress(share * count))
        pixels = pixels[:, : group.channels].to(torch.uint8).contiguous()
        agree(checksum(pixels.numpy().tobytes()), group)
        return pixels

    def _pixels(self) -> Pixels:
        self.require_residual()
        return self.pixels

    def require_residual(self) -> ResidualModel:
        if self.residual is None:
            raise UserError(
                "this run has no residual model yet",
                "the kind exact needs one",
                "learn it with `caselli residual RUN SOURCE`",
            )
        return self.residual


def _group(kind: str, stack: Tensor, content: Tensor, encoder: Encoder) -> Group:
    """Pictures, what their check sum is of, and their stream."""
    count, channels, height, width = stack.shape
    plain = content.to(torch.int32) if kind == "codes" else content
    check = checksum(plain.contiguous().numpy().tobytes())
    return Group(kind, channels, height, width, count, check, encoder.bytes())
