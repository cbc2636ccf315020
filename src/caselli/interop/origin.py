"""The files that a run was imported from, and the way back: the run's weights in those files again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

import caselli.interop as room  # the door's table is whole by the time that this is called
from caselli.errors import UserError, lookup
from caselli.files import atomic_write, read_tensors, write_tensors, write_text
from caselli.interop.layout import Codes, Converted, Hints, Weights
from caselli.plain import of_plain, to_plain
from caselli.shapes import Tensor
from caselli.weights import Checkpoint

FIRST = 1024
"""Number of the first weight; smaller ones are the zeros and ones that a conversion adds."""
STEM = "imported"
"""Name of the two files in a run's folder."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A tensor of a file."""

    dtype: str
    shape: tuple[int, ...]

    def empty(self) -> Tensor:
        """A tensor like it."""
        return torch.empty(self.shape, dtype=getattr(torch, self.dtype))


@dataclasses.dataclass(frozen=True)
class File:
    """A file as it was read."""

    name: str
    """Name of the file, without its folder."""
    wrappers: tuple[str, ...]
    """Names of the dictionaries around the weights, from the outside."""
    entries: dict[str, Entry]
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The config.json beside it; empty without one."""

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> File:
        """The description of a checkpoint."""
        entries = {
            name: Entry(str(value.dtype).removeprefix("torch."), tuple(value.shape))
            for name, value in checkpoint.weights.items()
        }
        return cls(checkpoint.path.name, checkpoint.wrappers, entries, checkpoint.settings)


@dataclasses.dataclass(frozen=True)
class Part:
    """A network in the files."""

    family: str
    """Name in `IMPORTERS`."""
    files: tuple[int, ...]
    """Numbers of the files that it lies in."""
    prefixes: tuple[str, ...]
    """Beginnings of its names in each of them, which are taken off."""

    def weights(self, files: Sequence[Weights]) -> list[Weights]:
        """Its weights by their own names."""
        found = []
        for number, prefix in zip(self.files, self.prefixes, strict=True):
            inner = files[number].items()
            found.append({n.removeprefix(prefix): w for n, w in inner if n.startswith(prefix)})
        return found

    def convert(self, files: Sequence[Weights], hints: Hints, codes: Codes | None) -> Converted:
        """Its weights under Caselli's names.

        Errors: `UserError` for files of another family.
        """
        family = lookup(room.IMPORTERS, "family", self.family)
        own = self.weights(files)
        if family.stage == "tokenizer":
            return family.convert(own, hints)
        return family.convert(own[0], hints, codes)


@dataclasses.dataclass(frozen=True)
class Origin:
    """Files that a run was imported from, and the parts that its networks were made of."""

    files: tuple[File, ...]
    parts: dict[str, Part]
    """tokenizer and prior → the part that it was made from; one that was there before is left out."""
    hints: Hints
    codes: Codes | None
    """The codes that the prior is over."""

    def places(self, files: Sequence[Weights]) -> dict[str, Converted]:
        """The conversion of each part."""
        codes = {"tokenizer": None, "prior": self.codes}
        return {stage: p.convert(files, self.hints, codes[stage]) for stage, p in self.parts.items()}

    def numbered(self) -> list[Weights]:
        """Tensors like the files', that hold the number of each weight instead of its value.

        A conversion only moves numbers, so that it says, applied to these, where each number comes from.
        """
        first, files = FIRST, []
        for file in self.files:
            numbers = {}
            for name, entry in file.entries.items():
                count = torch.Size(entry.shape).numel()
                place = torch.arange(first, first + count, dtype=torch.float64)
                numbers[name], first = place.view(entry.shape), first + count
            files.append(numbers)
        return files

    def written(self, networks: Mapping[str, nn.Module], kept: Sequence[Weights]) -> list[Weights]:
        """The files' weights from those of the networks.

        Arguments:
            networks: tokenizer and prior.
            kept: the files' tensors that no network has the whole of.

        Errors: `UserError` where the networks hold what the files have no place for.
        """
        total = FIRST + sum(torch.Size(e.shape).numel() for f in self.files for e in f.entries.values())
        values = torch.full((total,), torch.nan)
        found = self.places(self.numbered())
        for stage, converted in found.items():
            own = networks[stage].state_dict()
            for name, numbers in converted.weights.items():
                place, value = numbers.flatten(), own[name].detach().cpu().float().flatten()
                known = place >= FIRST
                _expect(stage, name, value[place < FIRST], place[place < FIRST].float())
                values[place[known].long()] = value[known]
        for stage, converted in found.items():  # a weight with several places has one value
            own = networks[stage].state_dict()
            for name, numbers in converted.weights.items():
                place, value = numbers.flatten(), own[name].detach().cpu().float().flatten()
                known = place >= FIRST
                _expect(stage, name, value[known], values[place[known].long()])
        return self._in_files(values, kept)

    def _in_files(self, values: Tensor, kept: Sequence[Weights]) -> list[Weights]:
        files, first = [], FIRST
        for file, rest in zip(self.files, kept, strict=True):
            weights = {}
            for name, entry in file.entries.items():
                count = torch.Size(entry.shape).numel()
                value = values[first : first + count].view(entry.shape)
                first += count
                whole = rest.get(name)
                if whole is not None:
                    there = value.isnan()
                    value = torch.where(there, whole.float(), value) if not there.all() else whole
                weights[name] = value.to(entry.empty().dtype)
            files.append(weights)
        return files

    def left(self, files: Sequence[Weights]) -> list[Weights]:
        """Tensors of the files that no network has the whole of."""
        total = FIRST + sum(torch.Size(e.shape).numel() for f in self.files for e in f.entries.values())
        taken = torch.zeros(total, dtype=torch.bool)
        numbered = self.numbered()
        for converted in self.places(numbered).values():
            for numbers in converted.weights.values():
                place = numbers.flatten()
                taken[place[place >= FIRST].long()] = True
        return [
            {name: own[name] for name, place in numbers.items() if not taken[place.flatten().long()].all()}
            for own, numbers in zip(files, numbered, strict=True)
        ]

    def save(self, folder: Path, files: Sequence[Weights]) -> None:
        """`imported.safetensors` and `imported.json` in a run's folder: the way back."""
        rest = {
            f"{number}.{name}": value.clone()
            for number, weights in enumerate(self.left(files))
            for name, value in weights.items()
        }
        write_tensors(folder / f"{STEM}.safetensors", rest)
        write_text(folder / f"{STEM}.json", json.dumps(to_plain(self)))


def _expect(stage: str, name: str, value: Tensor, wanted: Tensor) -> None:
    """Raises `UserError` where a number that the files cannot hold is another than theirs."""
    if not torch.equal(value, wanted):
        raise UserError(
            f"the {stage} was trained on, and {name} has numbers that the files' layout has no place for",
            "weights as they were imported, or trained where the layout is free, were expected",
            "export it with another --to",
        )


def read_origin(folder: str | Path) -> tuple[Origin, list[Weights]]:
    """Origin of a run, and the tensors kept beside its networks.

    Errors: `UserError` for a run that was not imported, and for damaged files.
    """
    stem = Path(folder) / STEM
    if not stem.with_suffix(".json").is_file():
        raise UserError(f"{folder} was given", "a run that `caselli import` made was expected")
    try:
        plain = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
        origin = of_plain(Origin, plain, "imported")
    except (OSError, ValueError) as error:
        raise UserError(f"{stem}.json cannot be read ({error})", "import the files anew") from None
    rest, _ = read_tensors(stem.with_suffix(".safetensors"), "import the files anew")
    kept: list[Weights] = [{} for _ in origin.files]
    for name, value in rest.items():
        number, _, own = name.partition(".")
        kept[int(number)][own] = value
    return origin, kept


def write_back(folder: str | Path, networks: Mapping[str, nn.Module], out: Path) -> list[Path]:
    """The run's networks in the files that it was imported from; equal to them, unless it was trained since.

    Arguments:
        folder: the run's.
        networks: tokenizer and prior, as far as it has them.
        out: the new files' folder; files of one name get folders of their own, 0, 1 and so on.

    Errors: `UserError` as of `read_origin`, and for weights that the files have no place for.
    """
    origin, kept = read_origin(folder)
    paths, shared = [], len({file.name for file in origin.files}) < len(origin.files)
    for number, file in enumerate(origin.files):
        paths.append(out / str(number) / file.name if shared else out / file.name)
    for file, path, weights in zip(origin.files, paths, origin.written(networks, kept), strict=True):
        if file.settings:
            write_text(path.parent / "config.json", json.dumps(file.settings, indent=2))
        if path.suffix == ".safetensors":
            write_tensors(path, weights)
            continue
        found: dict = weights
        for name in reversed(file.wrappers):
            found = {name: found}
        with atomic_write(path) as temporary:
            torch.save(found, temporary)
    return paths
