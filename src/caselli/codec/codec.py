"""Pictures ⟷ groups of bytes, with a trained run: none larger than as a PNG, none too large to read."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence

import torch

from caselli.codec.container import HEADER, Archive, Group
from caselli.codec.fallback import fallback, read_other
from caselli.codec.groups import TOGETHER, GroupCoder, Progress
from caselli.codec.residual import ResidualModel
from caselli.errors import UserError
from caselli.model import Model
from caselli.shapes import Shaped, Tensor

MOST_PIXELS = 1 << 22
"""Of a group, unless large pictures are allowed."""
GROUP_PIXELS = {"codes": 1 << 22, "exact": 1 << 20}
"""Of a group that is written."""


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
        self.model, self.allow_large = model, allow_large
        self.coder = GroupCoder(model, residual, batch)

    def fingerprint(self, kind: str) -> bytes:
        """Six bytes that change with anything that a file of this kind depends on."""
        prior = self.model.require_prior()
        digest = hashlib.sha256(self.model.tokenizer.fingerprint().encode())
        plain = [dataclasses.asdict(prior.config), dataclasses.asdict(prior.alphabet), self.model.size]
        digest.update(json.dumps(plain, sort_keys=True, default=str).encode())
        networks = [prior] if kind == "codes" else [prior, self.coder.require_residual()]
        for network in networks:
            for name, tensor in sorted(network.state_dict().items()):
                digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
                digest.update(
                    tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()
                )
        return digest.digest()[:6]

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
            coded.append(_other(pictures[index], index))
            progress(1)
        return coded

    def _suits(self, picture: Tensor) -> bool:
        return len(picture) in (1, self.model.tokenizer.config.channels)

    def _allowed(self, count: int, height: int, width: int) -> None:
        if count * self.coder.area(height, width) > MOST_PIXELS and not self.allow_large:
            raise UserError(
                f"{count} × {height} × {width} pixels at once were asked for",
                f"up to {MOST_PIXELS} were expected, tiles of {self.model.size} filled up",
                "add --allow-large if this is meant",
            )

    def _parts(self, pictures: Sequence[Tensor], members: list[int], kind: str) -> list[list[int]]:
        """Indices of pictures of one shape, no more than a group holds."""
        shapes: dict[torch.Size, list[int]] = {}
        for index in members:
            shapes.setdefault(pictures[index].shape, []).append(index)
        parts = []
        for shape, same in shapes.items():
            most = max(1, GROUP_PIXELS[kind] // self.coder.area(*shape[1:]))
            parts += [same[first : first + most] for first in range(0, len(same), most)]
        return parts

    def _group(self, pictures, members: list[int], kind: str, progress: Progress) -> list[Coded]:
        """One group; of the kind `exact` with what is smaller as a PNG taken out."""
        stack = torch.stack([pictures[i] for i in members])
        if kind == "codes":
            group, bits = self.coder.encode_codes(stack, progress)
            return [Coded(group, tuple(members), float(bits.sum()))]
        fallbacks = {i: _other(pictures[i], i) for i in members}
        expected = dict(zip(members, self.coder.exact_bits(stack).tolist(), strict=True))
        kept = [i for i in members if expected[i] + 8 < fallbacks[i].bits]
        rest = [fallbacks[i] for i in members if i not in kept]
        progress(len(rest))
        if not kept:
            return rest
        group, bits = self.coder.encode_exact(torch.stack([pictures[i] for i in kept]), progress)
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
            groups = self.coder.encode_each(torch.stack([pictures[i] for i in part]), kind, progress)
            found |= {i: Coded(group, (i,), bits) for i, (group, bits) in zip(part, groups, strict=True)}
        for index, picture in enumerate(pictures):
            if kind == "exact":
                other = _other(picture, index)
                if index not in found or len(other.group.data) <= len(found[index].group.data) + HEADER.size:
                    found[index] = other
        return [found[index] for index in range(len(pictures))]

    # decompressing ------------------------------------------------------------------------------------------

    def decompress(self, group: Group, progress: Progress = lambda done: None) -> Shaped[Tensor, "B C H W"]:
        """A group's pictures, uint8.

        Errors: `UserError` for damaged data, too many pixels, and where the arithmetic was another.
        """
        self._allowed(group.count, group.height, group.width)
        if group.kind in ("png", "webp"):
            progress(1)
            return read_other(group)
        return self.coder.decode(group, progress)

    def decompress_each(
        self, groups: Sequence[Group], progress: Progress = lambda done: None
    ) -> list[Shaped[Tensor, "B C H W"]]:
        """`decompress` of many groups; those of one picture are computed together."""
        for group in groups:
            self._allowed(group.count, group.height, group.width)
        found: dict[int, Tensor] = {}
        for kind in ("codes", "exact"):
            alone = [i for i, group in enumerate(groups) if group.count == 1 and group.kind == kind]
            for first in range(0, len(alone), TOGETHER):
                own = alone[first : first + TOGETHER]
                found |= zip(own, self.coder.decode_together([groups[i] for i in own], progress), strict=True)
        for i, group in enumerate(groups):
            if i not in found:
                found[i] = self.decompress(group, progress)
        return [found[i] for i in range(len(groups))]


def _other(picture: Tensor, index: int) -> Coded:
    group = fallback(picture)
    return Coded(group, (index,), 8.0 * len(group.data))
