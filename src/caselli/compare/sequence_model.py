"""A small sequence model for the tasks, of the prior's blocks and any mixers."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from caselli.compare.tasks import SequenceTask
from caselli.errors import UserError, lookup
from caselli.layer import count_parameters
from caselli.mixer import MIXERS, Mixer, State
from caselli.mixer.parts import ShortConvolution
from caselli.prior.block import Block
from caselli.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class Size:
    """Size that all models of a comparison have in common."""

    width: int = 32
    """Width of the models, E."""
    depth: int = 2
    """Blocks of the models."""
    state: int = 16
    """Numbers of state for each channel of a layer."""
    parameters: int = 13
    """Parameters of a block, in units of E²: those that the mixer leaves are the MLP's."""

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
    """The convolution's last inputs, and each block's state."""

    inputs: Float[Tensor, "B past E"]
    layers: tuple[State, ...]


class SequenceModel(nn.Module):
    r"""Embedded tokens, a short convolution beside them, the prior's blocks, a linear readout.

    .. math:: x_t = e_t + \mathrm{conv}(e_{t-2}, e_{t-1}, e_t), \qquad \text{blocks}, \qquad W\, N x_t

    There are no positions but those that a mixer has of its own, so that every length will do. The
    convolution shows every mixer a token's neighbours: what tells mixers apart is what they remember.

    Arguments:
        blocks: of the same width.
        tokens: kinds of token.
        answers: kinds of answer.

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
        """Before the first token."""
        weight = self.embedding.weight
        layers = tuple(block.mixer.initial_state(batch) for block in self.blocks)
        return ModelState(weight.new_zeros(batch, *self.convolution.state_shape), layers)


def build_model(name: str, task: SequenceTask, size: Size, seed: int = 0) -> SequenceModel:
    """A model of equal parameters and equal state.

    Arguments:
        name: a mixer of `MIXERS`, or several with + between, taken in turn: `mamba2+local`.
        task: whose tokens and answers it has.
        size: what all models share.
        seed: of its weights.

    Errors: `UserError` for an unknown name, and where a task needs a causal mixer.
    """
    kinds = [lookup(MIXERS, "mixer", part) for part in name.split("+")]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mixers = [_mixer(kinds[layer % len(kinds)], size, max(task.lengths)) for layer in range(size.depth)]
        if task.causal_only and not all(mixer.causal for mixer in mixers):
            raise UserError(f"mixer {name!r} was given", f"{type(task).__name__} needs a causal one")
        return SequenceModel([_block(mixer, size) for mixer in mixers], task.tokens, task.answers)


def is_causal(name: str) -> bool:
    """Whether every mixer of a name, as of `build_model`, sees the past alone.

    Example:
        >>> is_causal("mamba2+local"), is_causal("linformer")
        (True, False)
    """
    return all(lookup(MIXERS, "mixer", part)(width=64).causal for part in name.split("+"))


def _mixer(kind: type[Mixer], size: Size, length: int) -> Mixer:
    options = {"length": length} if kind.bounded else {}
    return kind.of_state(size.width, size.width * size.state, **options)


def _block(mixer: Mixer, size: Size) -> Block:
    """With an MLP as wide as its parameters allow."""
    width = mixer.width
    left = size.parameters * width**2 - count_parameters(mixer) - 3 * width
    inner = round(left / (2 * width + 1))
    if inner < 1:
        raise UserError(
            f"{size.parameters} E² parameters a block were given",
            f"{type(mixer).__name__} has {count_parameters(mixer) / width**2:.1f} E² of its own",
        )
    return Block(mixer, inner / width, dropout=0.0)
