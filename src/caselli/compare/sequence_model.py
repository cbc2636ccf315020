"""A small sequence model for the tasks, of the prior's blocks and any mixers, and its costs."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import torch
import yaml
from torch import nn

from caselli.compare.tasks import SequenceTask
from caselli.errors import UnknownName, UserError, lookup
from caselli.layer import count_parameters
from caselli.mixer import MIXERS, Mixer, State
from caselli.mixer.parts import ShortConvolution
from caselli.plain import options_of
from caselli.prior.block import Block
from caselli.shapes import Float, Int, Tensor

TOKENS = 2048
"""Tokens of the batches whose cost is measured, at any length."""


@dataclasses.dataclass(frozen=True)
class Size:
    """Size shared by all models of a comparison."""

    width: int = 32
    """Width of the models, E."""
    depth: int = 2
    """Blocks of the models."""
    state: int = 16
    """Numbers of state for each channel of a layer."""
    parameters: int = 13
    """Parameters of a block, in units of E²; the MLP has those that the mixer leaves."""

    def __post_init__(self) -> None:
        if min(self.width, self.depth, self.state, self.parameters) < 1:
            raise UserError(f"{self} was given", "positive numbers were expected")
        if self.state % 8 or self.width % self.state:
            raise UserError(
                f"width {self.width} and a state of {self.state} numbers a channel were given",
                "a multiple of 8 that divides the width was expected",
            )


@dataclasses.dataclass(frozen=True)
class ModelState(State):
    """Last inputs of the convolution, and the state of each block."""

    inputs: Float[Tensor, "B past E"]
    layers: tuple[State, ...]


class SequenceModel(nn.Module):
    r"""Embedded tokens, a short convolution beside them, the prior's blocks, a linear readout.

    .. math:: x_t = e_t + \mathrm{conv}(e_{t-2}, e_{t-1}, e_t), \qquad \text{blocks}, \qquad W\, N x_t

    There are no positions but a mixer's own, so that any length can be read. The convolution shows every
    mixer a token's neighbours, so that mixers differ in their memory alone.

    Arguments:
        blocks: blocks of one width.
        tokens: number of kinds of token.
        answers: number of kinds of answer.

    Example:
        >>> from caselli.compare.tasks import TASKS
        >>> model = build_model("mamba", TASKS["selective_copying"](), Size(width=32, depth=1, state=8))
        >>> model(torch.zeros(2, 9, dtype=torch.int64))[0].shape
        torch.Size([2, 9, 8])
    """

    def __init__(self, blocks: list[Block], tokens: int, answers: int) -> None:
        super().__init__()
        width = blocks[0].mixer.width
        self.embedding = nn.Embedding(tokens, width)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.convolution = ShortConvolution(width, 3)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width, bias=False)
        self.head = nn.Linear(width, answers)

    def forward(
        self, tokens: Int[Tensor, "B T"], state: ModelState | None = None
    ) -> tuple[Float[Tensor, "B T K"], ModelState]:
        x = self.embedding(tokens)
        if state is None:
            state = self.initial_state(len(x))
        y, inputs = self.convolution(x, state.inputs)
        x, layers = x + y, []
        for block, before in zip(self.blocks, state.layers, strict=True):
            x, after = block(x, before if block.mixer.causal else None)
            layers.append(after)
        return self.head(self.norm(x)), ModelState(inputs, tuple(layers))

    def initial_state(self, batch: int) -> ModelState:
        """The state before the first token."""
        weight = self.embedding.weight
        layers = tuple(block.mixer.initial_state(batch) for block in self.blocks)
        return ModelState(weight.new_zeros(batch, *self.convolution.state_shape), layers)


def build_model(name: str, task: SequenceTask, size: Size, seed: int = 0) -> SequenceModel:
    """A model of equal parameters and equal state.

    Arguments:
        name: a mixer of `MIXERS`, with options behind it if need be, or several with + between, taken in
            turn: `gated_delta_product:steps=4`, `mamba2+local`.
        task: the task that gives the kinds of tokens and answers.
        size: size shared by all models.
        seed: seed of the weights.

    Errors: `UserError` for an unknown name or option, and for a mixer that is not causal where the task needs
    one.
    """
    kinds = described(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mixers = [_mixer(*kinds[layer % len(kinds)], size, task) for layer in range(size.depth)]
        if task.causal_only and not all(mixer.causal for mixer in mixers):
            raise UserError(f"mixer {name!r} was given", f"{type(task).__name__} needs a causal one")
        return SequenceModel([_block(mixer, size) for mixer in mixers], task.tokens, task.answers)


def is_causal(name: str) -> bool:
    """True if every mixer of a name that `build_model` takes sees the past alone.

    Example:
        >>> is_causal("mamba2+local"), is_causal("linformer")
        (True, False)
    """
    return all(kind(width=64).causal for kind, _ in described(name))


def described(name: str) -> list[tuple[type[Mixer], dict[str, Any]]]:
    """Classes and options of a name that `build_model` takes.

    Errors: `UserError` for an unknown mixer, or an option that it does not have.

    Example:
        >>> [(kind.__name__, options) for kind, options in described("gated_delta_product:steps=4+local")]
        [('GatedDeltaProduct', {'steps': 4}), ('LocalAttention', {})]
    """
    return [_described(part) for part in name.split("+")]


def _described(name: str) -> tuple[type[Mixer], dict[str, Any]]:
    mixer, *pairs = name.split(":")
    kind = lookup(MIXERS, "mixer", mixer)
    words = dict(pair.partition("=")[::2] for pair in pairs)
    for option in words:
        if option not in options_of(kind):
            raise UnknownName("mixer option", option, options_of(kind))
    return kind, {option: yaml.safe_load(word) for option, word in words.items()}


def _mixer(kind: type[Mixer], options: dict[str, Any], size: Size, task: SequenceTask) -> Mixer:
    if kind.bounded:
        options = {"length": max(task.lengths)} | options
    try:
        return kind.of_state(size.width, size.width * size.state, **options)
    except TypeError as error:
        if "multiple values" not in str(error):
            raise
        raise UserError(
            f"{', '.join(options)} of {kind.__name__} was given",
            "options that do not set its state were expected",
        ) from error


def _block(mixer: Mixer, size: Size) -> Block:
    """A block whose MLP is as wide as the number of parameters allows."""
    width = mixer.width
    left = size.parameters * width**2 - count_parameters(mixer) - 3 * width
    inner = round(left / (2 * width + 1))
    if inner < 1:
        raise UserError(
            f"{size.parameters} E² parameters a block were given",
            f"{type(mixer).__name__} has {count_parameters(mixer) / width**2:.1f} E² of its own",
        )
    return Block(mixer, inner / width, dropout=0.0)


@dataclasses.dataclass(frozen=True)
class Cost:
    """Cost of a model at one length T."""

    seconds: float
    """Seconds of a token, forward and backward."""
    memory: float
    """Bytes that the forward pass keeps for the backward pass, for one token."""
    state: int
    """Bytes carried after T tokens of one sequence in all layers; 0 for layers that see whole sequences."""


def cost(
    mixer: str, task: SequenceTask, size: Size, length: int, repeats: int = 3, device: str = "cpu"
) -> Cost:
    """Measures a forward and a backward pass; time is the least of `repeats` runs.

    Arguments:
        mixer: a name that `build_model` takes.
        task: the task that gives the kinds of tokens and answers.
        size: size of the model.
        length: T.
        repeats: number of timed runs, after one that is not timed.
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
    saved: dict[int, int] = {}  # bytes by pointer, since views save one storage several times

    def save(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        model(tokens)[0].sum().backward()
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    memory = sum(size for pointer, size in saved.items() if pointer not in own)
    seconds = min(_seconds(model, tokens) for _ in range(repeats))
    with torch.no_grad():
        _, state = model(torch.zeros(1, length, dtype=torch.int64, device=device))
    carried = sum(tensor.numel() * tensor.element_size() for tensor in state.tensors())
    return Cost(seconds / tokens.numel(), memory / tokens.numel(), carried)


def _seconds(model: SequenceModel, tokens: Tensor) -> float:
    start = time.perf_counter()
    model(tokens)[0].sum().backward()
    if tokens.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start
