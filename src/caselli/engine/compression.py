"""How a module was made smaller, as plain data beside its weights: what is packed, what is narrower."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import nn

from caselli.engine.packing import BITS, Packing, pack, unpack
from caselli.errors import UserError
from caselli.shapes import Tensor

Number = int | tuple[int, ...]
ACTIVATIONS = ("", "int8")


@dataclasses.dataclass(frozen=True)
class Compression:
    """What the architecture's configuration does not say of a module that was made smaller."""

    packed: Mapping[str, Packing] = dataclasses.field(default_factory=dict)
    """Tensor → how it lies in the file; the others as they are."""
    numbers: Mapping[str, Mapping[str, Number]] = dataclasses.field(default_factory=dict)
    """Part of the module → those of its numbers (heads, channels) that differ from the configuration's."""
    shapes: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    """Tensor → its shape, where that differs."""
    activations: str = ""
    """int8 where linear layers with weights of 8 bits round what they are given too."""

    def plain(self) -> dict[str, Any]:
        """For the description; empty where nothing was made smaller."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value}

    @staticmethod
    def of_plain(plain: Mapping[str, Any]) -> Compression:
        """What `plain` gave.

        Raises:
            TypeError, ValueError, AttributeError: it is something else.
        """
        packed = {name: Packing(**how) for name, how in plain.get("packed", {}).items()}
        for how in packed.values():
            if how.bits not in BITS or type(how.group) is not int or how.group < 0:
                raise ValueError(f"{how} is no packing")
        numbers = {
            part: {k: tuple(map(int, v)) if isinstance(v, list) else int(v) for k, v in own.items()}
            for part, own in plain.get("numbers", {}).items()
        }
        shapes = {name: tuple(map(int, shape)) for name, shape in plain.get("shapes", {}).items()}
        activations = plain.get("activations", "")
        if activations not in ACTIVATIONS:
            raise ValueError(f"activations {activations!r} are not known")
        return Compression(packed, numbers, shapes, activations)

    def integers(self) -> list[str]:
        """The weights whose layers round their activations."""
        whole_rows = [name for name, how in self.packed.items() if how.bits == 8 and not how.group]
        return whole_rows if self.activations else []


NONE = Compression()


def compression_of(module: nn.Module) -> Compression:
    """How a module was made smaller; what loaded or compressed it has noted it in the module."""
    return getattr(module, "compression", NONE)


def narrowed(module: nn.Module, reference: nn.Module) -> Compression:
    """What is narrower in `module` than in `reference`, which its configuration builds; nothing packed.

    Example:
        >>> narrowed(nn.Linear(3, 2, bias=False), nn.Linear(3, 4, bias=False)).plain()
        {'numbers': {'': {'out_features': 2}}, 'shapes': {'weight': (2, 3)}}
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
    """What `pack_all` was given, from the file's tensors and the shapes that are expected."""
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
    """Whether `new` takes the place of `old`, and is no larger."""
    news, olds = _sizes(new), _sizes(old)
    return type(new) is type(old) and len(news) == len(olds) and all(map(_within, news, olds))


def _within(new: int, old: int) -> bool:
    return 0 < new <= old


def _expect(fits: bool, given: str) -> None:
    if not fits:
        raise UserError(f"{given} was found in the description", "a part of the module was expected")
