"""Compression of a module, as plain data beside its weights: tensors packed, parts narrower."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from torch import nn

from caselli.errors import UserError
from caselli.plain import to_plain
from caselli.shapes import Tensor
from caselli.weights.packing import Packing, pack, unpack

Number = int | tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Compression:
    """Differences between a module that was made smaller and the one that its configuration builds.

    Whatever makes a module smaller returns it, `save_weights` stores it, `load_weights` gives it back.
    """

    packed: Mapping[str, Packing] = dataclasses.field(default_factory=dict)
    """Tensor → how it lies in the file; the others as they are."""
    numbers: Mapping[str, Mapping[str, Number]] = dataclasses.field(default_factory=dict)
    """Part of the module → those of its numbers (heads, channels) that differ from the configuration's."""
    shapes: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    """Tensor → its shape, where that differs."""
    activations: Literal["", "int8"] = ""
    """int8 where linear layers with weights of 8 bits round what they are given too."""

    def plain(self) -> dict[str, Any]:
        """Plain data for the description; empty where nothing was made smaller."""
        return {name: value for name, value in to_plain(self).items() if value}

    def integers(self) -> list[str]:
        """The weights whose layers round their activations."""
        whole_rows = [name for name, how in self.packed.items() if how.bits == 8 and not how.group]
        return whole_rows if self.activations else []


UNCOMPRESSED = Compression()


def narrowed(module: nn.Module, reference: nn.Module) -> Compression:
    """Numbers and shapes of `module` that differ from those of `reference`, which its configuration builds.

    Example:
        >>> narrowed(nn.Linear(3, 2, bias=False), nn.Linear(3, 4, bias=False)).plain()
        {'numbers': {'': {'out_features': 2}}, 'shapes': {'weight': [2, 3]}}
    """
    numbers, parts = {}, dict(reference.named_modules())
    for path, part in module.named_modules():
        whole = vars(parts[path])
        own = {k: v for k, v in vars(part).items() if _sizes(v) and whole.get(k) != v}
        if own:
            numbers[path] = own
    whole = reference.state_dict()
    shapes = {k: tuple(v.shape) for k, v in module.state_dict().items() if v.shape != whole[k].shape}
    return Compression(numbers=numbers, shapes=shapes)


def narrow(module: nn.Module, compression: Compression) -> None:
    """Makes a module as its configuration builds it as narrow as described; its weights are to be loaded.

    Errors: `UserError` for a description that does not fit the module, or would make a part of it larger.
    """
    for path, numbers in compression.numbers.items():
        part = module.get_submodule(path)
        for name, number in numbers.items():
            _expect(_fits(number, vars(part).get(name)), f"{path}.{name} {number}")
            setattr(part, name, number)
    for name, shape in compression.shapes.items():
        path, _, leaf = name.rpartition(".")
        part = module.get_submodule(path)
        old = getattr(part, leaf)
        _expect(_fits(shape, tuple(old.shape)), f"{name} of shape {shape}")
        new = old.detach().new_empty(shape)
        setattr(part, leaf, nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new)


def pack_all(tensors: dict[str, Tensor], compression: Compression) -> dict[str, Tensor]:
    """The tensors of a file: each packed one in its parts, NAME.PART."""
    found = {}
    for name, tensor in tensors.items():
        if name in compression.packed:
            parts = pack(tensor, compression.packed[name])
            found |= {f"{name}.{part}": value for part, value in parts.items()}
        else:
            found[name] = tensor
    return found


def unpack_all(
    tensors: dict[str, Tensor], compression: Compression, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    """The tensors that `pack_all` packed, from the file's tensors and the shapes that are expected."""
    found, rest = {}, dict(tensors)
    for name, how in compression.packed.items():
        names = [key for key in rest if key.rpartition(".")[0] == name]
        parts = {key.rpartition(".")[2]: rest.pop(key) for key in names}
        found[name] = unpack(parts, how, shapes[name])
    return found | rest


def _sizes(value: object) -> tuple[int, ...]:
    """A number or several; empty for anything else."""
    values = value if isinstance(value, tuple) else (value,)
    return values if all(type(v) is int for v in values) else ()


def _fits(new: Number, old: object) -> bool:
    """True for a `new` that can take the place of `old`, and is no larger."""
    news, olds = _sizes(new), _sizes(old)
    return type(new) is type(old) and len(news) == len(olds) and all(map(_within, news, olds))


def _within(new: int, old: int) -> bool:
    return 0 < new <= old


def _expect(fits: bool, given: str) -> None:
    if not fits:
        raise UserError(f"{given} was found in the description", "a part of the module was expected")
