"""Parts of a network compiled by PyTorch's compiler, where a step gains by it; layers in float8."""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from caselli import ranks
from caselli.engine.machine import Machine
from caselli.engine.task import Task
from caselli.errors import MissingExtra, UserError
from caselli.shapes import Tensor

GAIN = 1.03
"""Times that a step has to be faster for parts to stay compiled."""
TIMED = 3
"""Steps that are timed, after one that is not."""
MULTIPLE = 16
"""Widths that products in float8 take are multiples of this."""


def compile_parts(task: Task, step: Callable[[], None]) -> str:
    """Compiles a task's parts in place and keeps them so where a step is faster for it; says in a sentence
    what came of it. All ranks have to call it, and decide alike.

    Arguments:
        task: whose `compiled` parts they are; weights, buffers and random numbers are left as they were.
        step: one forward and backward pass.
    """
    parts = task.compiled()
    if not parts:
        return "nothing was compiled: the network names no parts"
    before = _seconds(task, step)
    kept = [part.__dict__.get("forward") for part in parts]
    for part in parts:
        part.forward = torch.compile(part.forward)
    begin = time.perf_counter()
    try:
        after = _seconds(task, step)
    except Exception as error:  # the compiler raises anything
        if ranks.count() > 1 or isinstance(error, torch.OutOfMemoryError):
            raise  # the others wait in the middle of a step
        _restore(parts, kept)
        return f"nothing was compiled: {str(error).strip().splitlines()[0]}"
    taken = time.perf_counter() - begin
    words = f"a step takes {1000 * before:.3g} ms, compiled {1000 * after:.3g} ms ({taken:.0f} s to compile)"
    if before < GAIN * after:
        _restore(parts, kept)
        return f"{words}: it stays as it was"
    return f"{words}: {len(parts)} parts stay compiled"


def in_float8(task: Task, machine: Machine) -> None:
    """Makes the linear layers of a task's blocks multiply in float8, in place; weights stay as they are.

    Errors: `UserError` for a device without such products, `MissingExtra` without torchao.

    Source: Micikevicius et al. 2022, FP8 Formats for Deep Learning.
    """
    is_able = machine.device.startswith("cuda") and torch.cuda.get_device_capability(machine.device) >= (8, 9)
    if not is_able:
        raise UserError(
            f"float8 was asked for on {machine.device}",
            "a GPU of compute capability 8.9 or more was expected (Ada, Hopper, Blackwell)",
            "leave float8 out",
        )
    if importlib.util.find_spec("torchao") is None:
        raise MissingExtra("float8", "torchao", "slim")
    convert(task)


def convert(task: Task, **settings: bool) -> None:
    """Exchanges the linear layers of a task's blocks for torchao's, with its settings."""
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training
    from torchao.float8.float8_linear import Float8Linear

    config = Float8LinearConfig(**settings)
    for block in task.blocks():
        convert_to_float8_training(block, module_filter_fn=_fits, config=config)
    layers = [
        layer for block in task.blocks() for layer in block.modules() if isinstance(layer, Float8Linear)
    ]
    if not layers:
        expected = f"layers whose sides are multiples of {MULTIPLE} were expected"
        raise UserError("float8 was asked for, and no layer can have it", expected, "leave float8 out")
    for layer in layers:  # what is asked of `caselli.mixer.dense.Dense` in whose place they are
        layer.parts = functools.partial(_parts, layer)


def _parts(layer: nn.Module, x: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    return list(layer(x).split(sizes, -1))


def _fits(module: nn.Module, name: str) -> bool:
    return isinstance(module, nn.Linear) and all(side % MULTIPLE == 0 for side in module.weight.shape)


def _restore(parts: list[nn.Module], kept: list[Callable | None]) -> None:
    for part, forward in zip(parts, kept, strict=True):
        del part.forward
        if forward is not None:
            part.forward = forward


def _seconds(task: Task, step: Callable[[], None]) -> float:
    """The best time of some steps, the mean over ranks."""
    times = []
    with _unchanged(task):
        for _ in range(TIMED + 1):
            begin = time.perf_counter()
            step()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times.append(time.perf_counter() - begin)
    return ranks.mean(torch.tensor(min(times[1:]), dtype=torch.float64)).item()


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else copy.deepcopy(value)


@contextlib.contextmanager
def _unchanged(task: Task) -> Iterator[None]:
    """Puts weights, buffers, gradients and random numbers back when it ends."""
    state = {name: _copy(value) for name, value in task.state_dict().items()}
    buffers = {name: buffer.clone() for name, buffer in task.named_buffers()}
    with torch.random.fork_rng():
        yield
    with torch.no_grad():
        task.load_state_dict(state)  # a codebook that began in the meantime learns that it has not
        for name, buffer in task.named_buffers():
            buffer.copy_(buffers[name])
    for parameter in task.parameters():
        parameter.grad = None
