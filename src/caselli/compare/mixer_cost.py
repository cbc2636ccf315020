"""What a mixer costs at a length: time and memory of training, and the state that it carries."""

from __future__ import annotations

import dataclasses
import time

import torch

from caselli.compare.sequence_model import SequenceModel, Size, build_model
from caselli.compare.tasks import SequenceTask
from caselli.shapes import Tensor

TOKENS = 2048
"""Tokens in a batch, whatever the length."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """Cost of one mixer in the comparison's model, at one length T."""

    seconds: float
    """Seconds of a token, forward and backward."""
    memory: float
    """Bytes that the forward pass keeps for the backward pass, for one token."""
    state: int
    """Bytes carried after T tokens of one sequence, in all layers."""


class _Saved:
    """Bytes of what is saved for the backward pass, each storage once."""

    def __init__(self) -> None:
        self.storages: dict[int, int] = {}

    def __call__(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self.storages[storage.data_ptr()] = storage.nbytes()
        return tensor


def cost(
    mixer: str, task: SequenceTask, size: Size, length: int, repeats: int = 3, device: str = "cpu"
) -> Cost:
    """Measures a forward and a backward pass; time is the least of `repeats` runs.

    Arguments:
        mixer: as of `build_model`.
        task: whose tokens and answers the model has.
        size: size of the model.
        length: T.
        repeats: number of timed runs, after one that is not.
        device: device, such as cuda.

    Example:
        >>> from caselli.compare.tasks import TASKS
        >>> size = Size(width=16, depth=1, state=8, parameters=16)
        >>> cost("s4", TASKS["induction_heads"](), size, 32, repeats=1).state
        640
    """
    model = build_model(mixer, task, size).to(device)
    tokens = torch.arange(max(1, TOKENS // length) * length, device=device)
    tokens = tokens.remainder(task.tokens).view(-1, length)
    saved = _Saved()
    with torch.autograd.graph.saved_tensors_hooks(saved, lambda tensor: tensor):
        model(tokens)[0].sum().backward()
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = sum(size for pointer, size in saved.storages.items() if pointer not in own)
    seconds = min(_seconds(model, tokens) for _ in range(repeats))
    return Cost(seconds / tokens.numel(), kept / tokens.numel(), state_bytes(model, length))


@torch.no_grad()
def state_bytes(model: SequenceModel, length: int) -> int:
    """Bytes carried after `length` tokens of one sequence; 0 for layers that see whole sequences only."""
    device = model.embedding.weight.device
    _, state = model(torch.zeros(1, length, dtype=torch.int64, device=device))
    return sum(tensor.numel() * tensor.element_size() for tensor in state.tensors())


def _seconds(model: SequenceModel, tokens: Tensor) -> float:
    start = time.perf_counter()
    model(tokens)[0].sum().backward()
    if tokens.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start
