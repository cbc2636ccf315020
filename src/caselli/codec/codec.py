"""Pictures ⟷ groups of bytes, with a trained run; PNG or WebP where that is smaller."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from caselli.codec.container import HEADER, MOST_SIDE, Archive, Group
from caselli.codec.fallback import fallback, read_fallback
from caselli.codec.groups import GroupCoder, Progress
from caselli.codec.residual import ResidualModel
from caselli.errors import UserError
from caselli.model import Model
from caselli.shapes import Shaped, Tensor
from caselli.weights import take_in

MOST_PIXELS = 1 << 22
"""Largest number of pixels of a group, unless large pictures are allowed."""
GROUP_PIXELS = {"codes": 1 << 22, "exact": 1 << 20}
"""Largest number of pixels that are computed together, and written as one group, by kind."""


@dataclasses.dataclass(frozen=True)
class Coded:
    """A group of pictures that was compressed."""

    group: Group
    members: tuple[int, ...]
    """Indices of its pictures among those given."""
    bits: float
    """Bits by the prior's and the residual model's count, without the stream's end and any header."""


class Codec:
    """Compresses pictures with a run.

    `codes` keeps the codes: what comes back is the tokenizer's reconstruction. `exact` keeps every pixel.

    Arguments:
        model: tokenizer and prior.
        residual: distribution of the pixels given the reconstruction; the kind `exact` needs it.
        batch: sequences computed together; no byte depends on it.
        allow_large: allow groups of more than `MOST_PIXELS`.

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
        tokenizer = self.model.tokenizer  # pixels depend on the decoder too, codes do not
        digest = hashlib.sha256((tokenizer.fingerprint() if kind == "codes" else tokenizer.digest()).encode())
        plain = [_as_known(prior.config), _as_known(prior.alphabet), self.model.size]
        digest.update(json.dumps(plain, sort_keys=True, default=str).encode())
        networks = [prior] if kind == "codes" else [prior, self.coder.require_residual()]
        for network in networks:
            take_in(digest, network.state_dict())
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
        self,
        pictures: Sequence[Shaped[Tensor, "C H W"]],
        kind: str,
        *,
        shared: bool,
        progress: Progress = lambda done: None,
    ) -> list[Coded]:
        """The pictures as groups, each picture in one of them; none larger than as a PNG.

        Arguments:
            pictures: uint8. Of the kind `codes` they have the model's size and channels; `exact` takes any
                size, and leaves to PNG and WebP what has other channels than the model's, unless it is grey.
            kind: `codes` or `exact`.
            shared: one stream for all pictures of a size, as in an archive, instead of one for each.
            progress: called with the number of pictures that are done.
        """
        for picture in pictures:
            self._allowed(1, *picture.shape[1:])
            if max(picture.shape[1:]) > MOST_SIDE:
                raise UserError(
                    f"a picture of {picture.shape[2]} × {picture.shape[1]} pixels was given",
                    f"sides of up to {MOST_SIDE} were expected",
                )
        suited = [i for i, picture in enumerate(pictures) if kind == "codes" or self._suits(picture)]
        coded = []
        for members in self._alike(pictures, suited, kind):
            coded += (self._codes if kind == "codes" else self._exact)(pictures, members, shared, progress)
        for index in sorted(set(range(len(pictures))) - set(suited)):
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

    def _alike(self, pictures: Sequence[Tensor], members: list[int], kind: str) -> Iterator[list[int]]:
        """Indices of pictures of one shape, no more of them than a group holds."""
        shapes: dict[torch.Size, list[int]] = {}
        for index in members:
            shapes.setdefault(pictures[index].shape, []).append(index)
        for shape, same in shapes.items():
            most = max(1, GROUP_PIXELS[kind] // self.coder.area(*shape[1:]))
            for first in range(0, len(same), most):
                yield same[first : first + most]

    def _codes(
        self, pictures: Sequence[Tensor], members: list[int], shared: bool, progress: Progress
    ) -> list[Coded]:
        return self._encoded(pictures, members, "codes", shared, progress)

    def _exact(
        self, pictures: Sequence[Tensor], members: list[int], shared: bool, progress: Progress
    ) -> list[Coded]:
        """Groups of pictures of one shape; those that are smaller as a PNG or WebP are left to it."""
        others = {i: _other(pictures[i], i) for i in members}
        expected = self.coder.exact_bits(torch.stack([pictures[i] for i in members])).tolist()
        kept = [i for i, bits in zip(members, expected, strict=True) if bits + 8 < others[i].bits]
        progress(len(members) - len(kept))
        coded = self._encoded(pictures, kept, "exact", shared, progress) if kept else []
        if not shared:  # in a file of its own a group has a header too
            coded = [min(others[one.members[0]], one, key=_file_size) for one in coded]
        return coded + [others[i] for i in members if i not in kept]

    def _encoded(
        self, pictures: Sequence[Tensor], members: list[int], kind: str, shared: bool, progress: Progress
    ) -> list[Coded]:
        streams = torch.arange(len(members)) * (not shared)
        groups = self.coder.encode(torch.stack([pictures[i] for i in members]), kind, streams, progress)
        owned = [tuple(members)] if shared else [(i,) for i in members]
        return [Coded(group, own, bits) for own, (group, bits) in zip(owned, groups, strict=True)]

    # decompressing ------------------------------------------------------------------------------------------

    def decompress(
        self, groups: Sequence[Group], progress: Progress = lambda done: None
    ) -> list[Shaped[Tensor, "B C H W"]]:
        """The pictures of each group, uint8; groups of one kind are computed together.

        Errors: `UserError` for damaged data, too many pixels, and where the arithmetic was another.
        """
        for group in groups:
            self._allowed(group.count, group.height, group.width)
        found: dict[int, Tensor] = {}
        for kind in GROUP_PIXELS:
            for own in self._together(groups, kind):
                found.update(zip(own, self.coder.decode([groups[i] for i in own], progress), strict=True))
        for index, group in enumerate(groups):
            if index not in found:
                found[index] = read_fallback(group)
                progress(1)
        return [found[index] for index in range(len(groups))]

    def _together(self, groups: Sequence[Group], kind: str) -> Iterator[list[int]]:
        """Indices of groups of a kind, as many at a time as `GROUP_PIXELS` allows."""
        own: list[int] = []
        pixels = 0
        for index, group in enumerate(groups):
            if group.kind == kind:
                area = group.count * self.coder.area(group.height, group.width)
                if own and pixels + area > GROUP_PIXELS[kind]:
                    yield own
                    own, pixels = [], 0
                own, pixels = [*own, index], pixels + area
        if own:
            yield own


_FIRST = (
    "kind", "prior_options", "mixer", "mixer_options", "order", "width", "depth", "expansion", "dropout",
    "label_dropout", "text", "text_length", "text_width", "text_depth", "text_vectors", "text_path",
    "text_dropout", "condition_picture", "condition_factor", "picture_dropout", "code_dropout", "sizes",
    "codebooks", "places", "classes", "picture", "picture_shape", "picture_pool",
)  # fmt: skip
"""Fields that the first files knew; a newer one at its default does not change the fingerprint."""


def _as_known(record: Any) -> dict[str, Any]:
    """The fields of a record as plain data, but for newer ones at their defaults."""
    plain = dataclasses.asdict(record)
    plain.pop("levels", None)  # the tokenizer's, whose fingerprint counts already
    plain.pop("guidance", None)  # concerns drawing alone
    usual = {field.name: _default(field) for field in dataclasses.fields(record)}
    return {k: v for k, v in plain.items() if k in _FIRST or v != usual[k]}


def _default(field: dataclasses.Field) -> Any:
    """The default of a record's field as plain data; `MISSING` where it has none."""
    made = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return dataclasses.asdict(made) if dataclasses.is_dataclass(made) else made


def _file_size(coded: Coded) -> int:
    """Bytes of a file for one picture; a PNG needs no header."""
    return len(coded.group.data) + (0 if coded.group.kind == "png" else HEADER.size)


def _other(picture: Tensor, index: int) -> Coded:
    group = fallback(picture)
    return Coded(group, (index,), 8.0 * len(group.data))
