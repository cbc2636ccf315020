"""Pictures ⟷ groups of bytes, with a trained run."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from caselli.codec.coder import Decoder, Decoders, Encoder, Encoders
from caselli.codec.container import HEADER, NONE, Archive, Group, checksum
from caselli.codec.lossless import MODES, check_png, damaged, lossless_webp, optimised_png
from caselli.codec.pixels import Pixels
from caselli.codec.reproducible import Reproducible, reproducible
from caselli.codec.residual import ResidualConfig, ResidualModel
from caselli.codec.sequences import Sequences
from caselli.data import to_bytes, to_float
from caselli.engine.weights import load_weights, read_description, save_weights
from caselli.errors import UserError
from caselli.model import Model
from caselli.shapes import Int, Shaped, Tensor

MOST_PIXELS = 1 << 22
"""Of a group, unless large pictures are allowed."""
GROUP_PIXELS = {"codes": 1 << 22, "exact": 1 << 20}
"""Of a group that is written."""
TOGETHER = 32
"""Pictures that the tokenizer takes at a time."""

Progress = Callable[[float], None]


@dataclasses.dataclass(frozen=True)
class Coded:
    """A group, and what is in it."""

    group: Group
    members: tuple[int, ...]
    """Indices of the pictures that were given."""
    bits: float
    """Of the prior's and the residual model's own, without the stream's end and any header."""


class Codec:
    """Compresses pictures with a run.

    `codes` keeps the codes: what comes back is the tokenizer's reconstruction. `exact` keeps every pixel.

    Arguments:
        model: tokenizer and prior.
        residual: what `exact` needs beside them.
        batch: sequences computed together; no byte depends on it.
        allow_large: whether a group may hold more than `MOST_PIXELS`.

    Errors: `UserError` for a run without a prior, or with one that the codec cannot serve.
    """

    def __init__(
        self,
        model: Model,
        residual: ResidualModel | None = None,
        *,
        batch: int = 256,
        allow_large: bool = False,
    ) -> None:
        self.model, self.residual, self.allow_large = model, residual, allow_large
        self.sequences = Sequences(model.require_prior(), batch)
        self.pixels = None if residual is None else Pixels(residual)
        self.tokenizer = copy.deepcopy(model.tokenizer).double().eval()
        self.mode = Reproducible(self.tokenizer)

    def fingerprint(self, kind: str) -> bytes:
        """Six bytes that change with anything that a file of this kind depends on."""
        prior = self.model.require_prior()
        digest = hashlib.sha256(self.model.tokenizer.fingerprint().encode())
        plain = [dataclasses.asdict(prior.config), dataclasses.asdict(prior.alphabet), self.model.size]
        digest.update(json.dumps(plain, sort_keys=True, default=str).encode())
        networks = [prior] if kind == "codes" else [prior, self._residual()]
        for network in networks:
            for name, tensor in sorted(network.state_dict().items()):
                digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
                digest.update(
                    tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()
                )
        return digest.digest()[:6]

    # compressing --------------------------------------------------------------------------------------------

    def compress(
        self, pictures: Sequence[Shaped[Tensor, "C H W"]], kind: str, progress: Progress = lambda done: None
    ) -> list[Coded]:
        """Pictures in groups of one size and of a few million pixels; none larger than as a PNG.

        Arguments:
            pictures: uint8. Of the kind `codes` they have the model's size and channels; `exact` takes any
                size, and leaves to PNG and WebP what has other channels than the model's, unless it is grey.
            kind: `codes` or `exact`.
            progress: told the pictures that are done.
        """
        for picture in pictures:
            self._allowed(1, *picture.shape[1:])
        suited = [i for i, picture in enumerate(pictures) if kind == "codes" or self._suits(picture)]
        others = sorted(set(range(len(pictures))) - set(suited))
        coded = [
            coded
            for part in self._parts(pictures, suited, kind)
            for coded in self._group(pictures, part, kind, progress)
        ]
        for index in others:
            coded.append(_fallback(pictures[index], index))
            progress(1)
        return coded

    def _suits(self, picture: Tensor) -> bool:
        return len(picture) in (1, self.model.tokenizer.config.channels)

    def _allowed(self, count: int, height: int, width: int) -> None:
        if count * self._area(height, width) > MOST_PIXELS and not self.allow_large:
            raise UserError(
                f"{count} × {height} × {width} pixels at once were asked for",
                f"up to {MOST_PIXELS} were expected, tiles of {self.model.size} filled up",
                "add --allow-large if this is meant",
            )

    def _area(self, height: int, width: int) -> int:
        """Pixels of the tiles that a picture takes."""
        size = self.model.size
        return -(-height // size) * -(-width // size) * size * size

    def _parts(self, pictures: Sequence[Tensor], members: list[int], kind: str) -> list[list[int]]:
        """Indices of pictures of one shape, no more than a group holds."""
        shapes: dict[torch.Size, list[int]] = {}
        for index in members:
            shapes.setdefault(pictures[index].shape, []).append(index)
        parts = []
        for shape, same in shapes.items():
            most = max(1, GROUP_PIXELS[kind] // self._area(*shape[1:]))
            parts += [same[first : first + most] for first in range(0, len(same), most)]
        return parts

    def _group(self, pictures, members: list[int], kind: str, progress: Progress) -> list[Coded]:
        """One group; of the kind `exact` with what is smaller as a PNG taken out."""
        stack = torch.stack([pictures[i] for i in members])
        if kind == "codes":
            group, bits = self.encode_codes(stack, progress)
            return [Coded(group, tuple(members), float(bits.sum()))]
        group, bits = self.encode_exact(stack, progress)
        fallbacks = {i: _fallback(pictures[i], i) for i in members}
        worse = [
            i
            for i, b in zip(members, bits.tolist(), strict=True)
            if len(fallbacks[i].group.data) * 8 <= b + 8
        ]
        if not worse:
            return [Coded(group, tuple(members), float(bits.sum()))]
        kept = [i for i in members if i not in worse]
        rest = [fallbacks[i] for i in worse]
        if not kept:
            return rest
        group, bits = self.encode_exact(torch.stack([pictures[i] for i in kept]), lambda done: None)
        return [Coded(group, tuple(kept), float(bits.sum())), *rest]

    def compress_each(
        self, pictures: Sequence[Shaped[Tensor, "C H W"]], kind: str, progress: Progress = lambda done: None
    ) -> list[Coded]:
        """As `compress`, each picture in a stream of its own; they are computed together all the same."""
        found: dict[int, Coded] = {}
        for picture in pictures:
            self._allowed(1, *picture.shape[1:])
        suited = [i for i, picture in enumerate(pictures) if kind == "codes" or self._suits(picture)]
        for part in self._parts(pictures, suited, kind):
            groups = self.encode_each(torch.stack([pictures[i] for i in part]), kind, progress)
            found |= {i: Coded(group, (i,), bits) for i, (group, bits) in zip(part, groups, strict=True)}
        for index, picture in enumerate(pictures):
            if kind == "exact":
                other = _fallback(picture, index)
                if index not in found or len(other.group.data) <= len(found[index].group.data) + HEADER.size:
                    found[index] = other
        return [found[index] for index in range(len(pictures))]

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
        shown = joined(self._shown(codes), count, *stack.shape[2:])
        own = network.encode(pixels.long(), shown.long(), encoder, lambda share: progress(share * count))
        return _group("exact", stack, stack, encoder), bits + own

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
        shown = joined(self._shown(codes), len(stack), *stack.shape[2:])
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

    def _shown(self, codes: Int[Tensor, "B T"]) -> Shaped[Tensor, "B C H W"]:
        """The reconstruction, in arithmetic that gives the same bits anywhere."""
        grids = self.model.order.restore(codes, self.model.grid)
        parts = []
        for part in grids.split(TOGETHER):
            with reproducible(self.mode):
                decoded = self.tokenizer.decode(part.to(self.model.device))
            parts.append(to_bytes(decoded).cpu())
        return torch.cat(parts)

    def check(self, archive: Archive) -> None:
        """Raises `UserError` for a file of another model, or of too many pixels."""
        for group in archive.groups:
            self._allowed(group.count, group.height, group.width)
        kinds = {group.kind for group in archive.groups} & {"codes", "exact"}
        for kind in kinds:
            if archive.fingerprint != self.fingerprint(kind):
                raise UserError(
                    f"a file of model {archive.fingerprint.hex()} was given",
                    f"one of {self.fingerprint(kind).hex()}, this run's, was expected",
                    "give the run that it was compressed with",
                )

    # decompressing ------------------------------------------------------------------------------------------

    def decompress(self, group: Group, progress: Progress = lambda done: None) -> Shaped[Tensor, "B C H W"]:
        """A group's pictures, uint8.

        Errors: `UserError` for damaged data, too many pixels, and where the arithmetic was another.
        """
        self._allowed(group.count, group.height, group.width)
        if group.kind in ("png", "webp"):
            progress(1)
            return _read(group)
        self._fits(group)
        decoder = Decoder(group.data)
        if group.kind == "codes":
            return self._shown_as_usual(self.sequences.decode(group.count, decoder, progress), [group])
        codes = self.sequences.decode(group.count * self._tiles(group), decoder)
        return self._decoded_pixels(group, codes, decoder, progress)

    def decompress_each(
        self, groups: Sequence[Group], progress: Progress = lambda done: None
    ) -> list[Shaped[Tensor, "B C H W"]]:
        """`decompress` of many groups; those of one picture are computed together."""
        found: dict[int, Tensor] = {}
        for kind in ("codes", "exact"):
            alone = [i for i, group in enumerate(groups) if group.count == 1 and group.kind == kind]
            for first in range(0, len(alone), TOGETHER):
                own = alone[first : first + TOGETHER]
                found |= zip(own, self._decode_together([groups[i] for i in own], progress), strict=True)
        for i, group in enumerate(groups):
            if i not in found:
                found[i] = self.decompress(group, progress)
        return [found[i] for i in range(len(groups))]

    def _decode_together(self, groups: list[Group], progress: Progress) -> list[Tensor]:
        """The pictures of groups of one kind and one picture each."""
        for group in groups:
            self._allowed(1, group.height, group.width)
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
        return self._area(group.height, group.width) // self.model.size**2

    def _shown_as_usual(self, codes: Int[Tensor, "B T"], groups: list[Group]) -> Tensor:
        """What `reconstruct` shows of codes that are as they were."""
        parts = codes.split([group.count for group in groups])
        for part, group in zip(parts, groups, strict=True):
            _agree(checksum(part.to(torch.int32).numpy().tobytes()), group)
        grids = self.model.order.restore(codes, self.model.grid)
        return torch.cat([to_bytes(self.model.decode(part).cpu()) for part in grids.split(TOGETHER)])

    def _decoded_pixels(
        self, group: Group, codes: Int[Tensor, "n T"], decoder: Decoder, progress: Progress
    ) -> Tensor:
        network, count = self._pixels(), group.count
        shown = joined(self._shown(codes), count, group.height, group.width)
        pixels = network.decode(shown.long(), decoder, lambda share: progress(share * count))
        pixels = pixels[:, : group.channels].to(torch.uint8).contiguous()
        _agree(checksum(pixels.numpy().tobytes()), group)
        return pixels

    def _pixels(self) -> Pixels:
        self._residual()
        return self.pixels

    def _residual(self) -> ResidualModel:
        if self.residual is None:
            raise UserError(
                "this run has no residual model yet",
                "the kind exact needs one",
                "learn it with `caselli residual RUN SOURCE`",
            )
        return self.residual


def tiles(pictures: Shaped[Tensor, "B C H W"], size: int) -> Shaped[Tensor, "n C S S"]:
    """Squares of a side, row by row of each picture; the last ones are filled up with their edges.

    Example:
        >>> tiles(torch.zeros(2, 1, 5, 4, dtype=torch.uint8), 4).shape
        torch.Size([4, 1, 4, 4])
    """
    height, width = pictures.shape[2:]
    x = F.pad(pictures.float(), (0, -width % size, 0, -height % size), mode="replicate").to(pictures.dtype)
    x = x.unflatten(3, (-1, size)).unflatten(2, (-1, size))  # B C n S m S
    return x.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def joined(
    parts: Shaped[Tensor, "n C S S"], count: int, height: int, width: int
) -> Shaped[Tensor, "B C H W"]:
    """The inverse of `tiles`.

    Example:
        >>> x = torch.arange(20).view(1, 1, 5, 4)
        >>> torch.equal(joined(tiles(x, 4), 1, 5, 4), x)
        True
    """
    size = parts.shape[2]
    x = parts.unflatten(0, (count, -(-height // size), -(-width // size)))
    return x.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)[:, :, :height, :width]


def _group(kind: str, stack: Tensor, content: Tensor, encoder: Encoder) -> Group:
    """Pictures, what their check sum is of, and their stream."""
    count, channels, height, width = stack.shape
    plain = content.to(torch.int32) if kind == "codes" else content
    check = checksum(plain.contiguous().numpy().tobytes())
    return Group(kind, channels, height, width, count, check, encoder.bytes())


def _fallback(picture: Shaped[Tensor, "C H W"], index: int) -> Coded:
    """The picture as a PNG, or as WebP where that is smaller by more than a header."""
    pixels = picture.permute(1, 2, 0).contiguous().numpy()
    png, webp = optimised_png(pixels), lossless_webp(pixels)
    smaller = webp and len(webp) + 24 < len(png)
    kind, data = ("webp", webp) if smaller else ("png", png)
    channels, height, width = picture.shape
    group = Group(kind, channels, height, width, 1, checksum(pixels.tobytes()), data)
    return Coded(group, (index,), 8.0 * len(data))


def _read(group: Group) -> Tensor:
    """The picture of a group that is a file of another format."""
    try:
        if group.kind == "png":
            check_png(group.data)
        image = Image.open(io.BytesIO(group.data), formats=[group.kind.upper()])
        if image.size != (group.width, group.height):
            raise damaged("its size is another")
        pixels = np.array(image.convert(MODES[group.channels]))
    except UserError:
        raise
    except Exception as error:  # Pillow's decoders raise anything at all on broken files
        raise damaged(str(error)) from None
    pixels = pixels.reshape(group.height, group.width, group.channels)
    _agree(checksum(pixels.tobytes()), group)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def _agree(found: int, group: Group) -> None:
    """The file was whole, or it would have been refused: so the probabilities were others."""
    if group.check not in (found, NONE):
        raise UserError(
            f"what was decoded has check sum {found:04x}",
            f"{group.check:04x} was expected: the file is whole, so this machine's arithmetic gave other "
            "probabilities, or the file was made up",
            "decode it where it was written, and tell us of both machines",
        )


# files ------------------------------------------------------------------------------------------------------


def save_residual(residual: ResidualModel, folder: Path, tokenizer: str) -> None:
    """`residual.safetensors` and `residual.json` in a run; `tokenizer` is its fingerprint."""
    save_weights(
        folder / "residual", residual, {"config": dataclasses.asdict(residual.config), "tokenizer": tokenizer}
    )


def load_residual(folder: Path, tokenizer: str) -> ResidualModel | None:
    """The residual model of a run, or None where none was learnt.

    Errors: `UserError` for one of another tokenizer, or damaged files.
    """
    if not (folder / "residual.json").exists():
        return None
    described = read_description(folder / "residual")
    if described.get("tokenizer") != tokenizer:
        raise UserError(
            f"the residual model in {folder} was learnt with another tokenizer",
            "one of this run was expected",
            "learn it anew with `caselli residual RUN SOURCE --overwrite`",
        )
    residual = ResidualModel(ResidualConfig(**described["config"]))
    load_weights(folder / "residual", residual)
    return residual
