"""A device that is not there: it computes on the CPU and refuses what a GPU refuses, where there is none."""

from __future__ import annotations

import contextlib
import functools
import os
import traceback
from collections.abc import Callable, Iterator
from typing import Any, ClassVar
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretend"
aten = torch.ops.aten
ACROSS = {aten.copy_.default, aten._to_copy.default}
"""Operations whose tensors may lie on two devices."""
INDEXED = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._unsafe_index.Tensor,
    aten._unsafe_index_put.default,
    aten._index_put_impl_.default,
}
"""Operations whose indices may lie on the CPU."""
WITH_SCALARS = {aten.masked_fill.Tensor, aten.masked_fill_.Tensor, aten.fill_.Tensor, aten.fill.Tensor}
"""Operations that take a tensor of no axes from the CPU and are not tagged as pointwise."""
PRODUCTS = {aten.mm.default, aten.bmm.default, aten.addmm.default, aten.baddbmm.default, aten.mv.default}


class WrongDevice(RuntimeError):
    """What a GPU would have refused."""


class Pretend(torch.Tensor):
    """A tensor on the device that is not there."""

    @staticmethod
    def __new__(cls, held: Tensor) -> Pretend:
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=torch.device(NAME, 0),
        )

    def __init__(self, held: Tensor) -> None:
        self.held = held

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Pretend({self.held})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})

    def numpy(self, *, force: bool = False) -> Any:
        if force:
            return self.cpu().detach().numpy()
        raise WrongDevice("numpy was asked for of a tensor on the device")

    def __getitem__(self, key: Any) -> Tensor:
        keys = (
            key if isinstance(key, tuple) else (key,)
        )  # of a list, torch makes a tensor where no mode sees it
        return super().__getitem__(tuple(torch.tensor(k) if isinstance(k, list) else k for k in keys))

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.held.detach().__reduce_ex__(protocol)

    def new_tensor(self, data: Any, **options: Any) -> Tensor:
        return torch.tensor(data, **{"dtype": self.dtype, "device": self.device} | options)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise WrongDevice("an array was asked for of a tensor on the device")


class Generator(torch.Generator):
    """A generator that remembers the device it was made for."""

    made: ClassVar[dict[int, torch.device]] = {}
    """By address: on its way through torch, a generator loses its class."""

    def __new__(cls, device: Any = "cpu") -> Generator:
        made = super().__new__(cls, device="cpu")
        cls.made[made._cdata] = torch.device(device)
        return made

    @property
    def device(self) -> torch.device:
        return self.made[self._cdata]


class _Machine(TorchDispatchMode):
    """Makes tensors on the device where they are asked for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


class _Module:
    """What torch asks of a kind of device."""

    def is_available(self) -> bool:
        return True

    is_initialized = is_available

    def _is_in_bad_fork(self) -> bool:
        return False

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def manual_seed_all(self, seed: int) -> None:
        pass

    def get_rng_state(self, device: Any = None) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        pass  # it is the CPU's, and put back as such

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


@contextlib.contextmanager
def pretended() -> Iterator[str]:
    """The device exists inside, and from then on in this process; its name."""
    if not hasattr(torch, NAME):
        _setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    with (
        _Machine(),
        torch.autograd.set_multithreading_enabled(False),  # the mode is this thread's alone
        mock.patch("torch.Generator", Generator),
        mock.patch("torch.tensor", _then_moved(torch.tensor)),
        mock.patch("torch.as_tensor", _then_moved(torch.as_tensor)),
    ):
        yield NAME


def on_the_device(test: Callable[..., None]) -> Callable[..., None]:
    """A test that runs in a process of its own, where the device exists: torch starts threads for backward
    passes, and a process that is forked after them can compute none."""

    @functools.wraps(test)
    def forked(*arguments: Any, **given: Any) -> None:
        end, start = os.pipe()
        number = os.fork()
        if not number:
            _run(functools.partial(test, *arguments, **given), start)
        os.close(start)
        with open(end, encoding="utf-8") as pipe:
            said = pipe.read()
        assert os.waitpid(number, 0)[1] == 0, said

    return forked


def _run(test: Callable[[], None], start: int) -> None:
    """The test in the forked process, which ends with it; its mistake goes into the pipe."""
    code = 1
    try:
        torch.set_num_threads(1)  # those of the parent are not here
        torch.manual_seed(0)
        with pretended():
            test()
        code = 0
    except BaseException:
        os.write(start, traceback.format_exc()[-20_000:].encode())
    finally:
        os._exit(code)


def _then_moved(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function that makes tensors of numbers: torch moves them to the device where no mode sees it."""

    def made(data: Any, *, device: Any = None, requires_grad: bool = False, **options: Any) -> Tensor:
        if isinstance(data, Pretend):
            device = device or data.device
        held = make(data, **options)
        held = held if device is None else held.to(device)
        return held.requires_grad_() if requires_grad else held

    return made


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The operation's result, computed on the CPU, on the device where it belongs there."""
    leaves = tree_leaves((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    here = any(isinstance(x, Pretend) for x in tensors)
    asked = kwargs.get("device")
    wrap = here if asked is None else torch.device(asked).type == NAME
    if here:
        _expect_one_device(func, args, tensors)
    if here or (wrap and not tensors):
        _expect_generator(func, leaves)
    if func in PRODUCTS and here and not tensors[0].dtype.is_floating_point and not tensors[0].is_complex():
        raise WrongDevice(f"{func}: no GPU multiplies matrices of {tensors[0].dtype}")
    if asked is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    if func is aten._to_copy.default and asked is not None:
        kwargs = kwargs | {"non_blocking": False}
    held, held_kwargs = tree_map(_unwrapped, (args, kwargs))
    out = func(*held, **held_kwargs)
    if not wrap or func is aten._local_scalar_dense.default:
        return out
    out = tree_map(_wrapped, out)
    return return_and_correct_aliasing(func, args, kwargs, out) if here else out


def _wrapped(x: Any) -> Any:
    if not isinstance(x, Tensor) or isinstance(x, Pretend):
        return x
    return Pretend(x.resolve_conj().resolve_neg())  # bits of a tensor that its wrapper does not have


def _unwrapped(x: Any) -> Any:
    return x.held if isinstance(x, Pretend) else x


def _expect_one_device(func: Any, args: Any, tensors: list[Tensor]) -> None:
    """As a GPU has it: numbers without axes may come from the CPU, and so may indices."""
    if func in ACROSS:
        return
    if func in INDEXED:
        tensors = [args[0], *(x for x in args[2:] if isinstance(x, Tensor))]
    strange = [x for x in tensors if not isinstance(x, Pretend)]
    may_be_scalar = torch.Tag.pointwise in func.tags or func in WITH_SCALARS or "_foreach" in str(func)
    if any(x.dim() or not may_be_scalar for x in strange):
        shapes = ", ".join(f"{tuple(x.shape)} on {x.device}" for x in tensors)
        raise WrongDevice(f"{func} met tensors of two devices: {shapes}")


def _expect_generator(func: Any, leaves: list[Any]) -> None:
    for leaf in leaves:
        if isinstance(leaf, torch._C.Generator):
            device = Generator.made.get(leaf._cdata, leaf.device)
            if device.type != NAME:
                raise WrongDevice(f"{func} was given a generator of the {device.type}")
