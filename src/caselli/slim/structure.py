"""Units that can be removed from a network: heads and channels, with every weight that belongs to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import nn

from caselli.layer import ResidualBlock, TransformerBlock
from caselli.mixer import Attention, LocalAttention, Mamba2
from caselli.prior.block import Block
from caselli.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class Slice:
    """The entries of one axis of a tensor that belong to each unit."""

    tensor: str
    """Name of a parameter within the part."""
    axis: int
    entries: Int[Tensor, "U n"]
    """Indices of the weights that belong to each unit, a row a unit."""


@dataclasses.dataclass(frozen=True)
class Units:
    """The units of one part of a network: all its heads, or all its channels.

    The last slice holds the weights that sum the units' outputs: without them a unit has no effect.
    """

    path: str
    """Dotted name of the part in the network."""
    slices: tuple[Slice, ...]
    numbers: dict[tuple[str, str], int]
    """(module within the part, its number) → how much of that number each unit is."""

    def __len__(self) -> int:
        return len(self.slices[0].entries)

    def parameter(self, network: nn.Module, piece: Slice) -> nn.Parameter:
        """The tensor of a slice."""
        return network.get_submodule(self.path).get_parameter(piece.tensor)

    def parameters(self, network: nn.Module) -> int:
        """Weights of one unit."""
        total = 0
        for piece in self.slices:
            tensor = self.parameter(network, piece)
            total += tensor.numel() // tensor.shape[piece.axis] * piece.entries.shape[1]
        return total

    def first_order(self, network: nn.Module) -> Float[Tensor, "n"]:
        """Σ w ∂L/∂w over the weights that a unit's output goes through."""
        piece = self.slices[-1]
        tensor = self.parameter(network, piece)
        if tensor.grad is None:
            return torch.zeros(len(self))
        others = [axis for axis in range(tensor.ndim) if axis != piece.axis]
        along = (tensor.detach() * tensor.grad).sum(others).cpu()
        return along[piece.entries].sum(1)

    @torch.no_grad()
    def keep(self, network: nn.Module, kept: Int[Tensor, "n"]) -> None:
        """Takes all other units out of the network."""
        part = network.get_submodule(self.path)
        for piece in self.slices:
            path, _, leaf = piece.tensor.rpartition(".")
            owner = part.get_submodule(path)
            old = getattr(owner, leaf)
            gone = set(piece.entries.flatten().tolist()) - set(piece.entries[kept].flatten().tolist())
            stay = [i for i in range(old.shape[piece.axis]) if i not in gone]
            new = old.index_select(piece.axis, torch.tensor(stay, device=old.device))
            setattr(owner, leaf, nn.Parameter(new, old.requires_grad))
        for (path, number), each in self.numbers.items():
            owner = part.get_submodule(path)
            setattr(owner, number, getattr(owner, number) - each * (len(self) - len(kept)))


def heads_of_attention(path: str, mixer: Attention) -> Units:
    """A key and value head and the query heads that look at it, of softmax attention."""
    units, width, repeat = mixer.kv_heads, mixer.head_width, mixer.heads // mixer.kv_heads
    queries, keys = _blocks(units, repeat * width), _blocks(units, width)
    slices = (
        Slice("query.weight", 0, queries),
        Slice("key_value.weight", 0, torch.cat((keys, keys + units * width), 1)),
        Slice("query.bias", 0, queries),
        Slice("key_value.bias", 0, torch.cat((keys, keys + units * width), 1)),
        Slice("query_key_norm.log_scale", 0, _blocks(units, repeat)),
        Slice("output.weight", 1, queries),
    )
    numbers = {("", "heads"): repeat, ("", "kv_heads"): 1, ("query", "out_features"): repeat * width}
    numbers |= {("key_value", "out_features"): 2 * width, ("output", "in_features"): repeat * width}
    return Units(path, _present(mixer, slices), numbers)


def heads_of_mamba2(path: str, mixer: Mamba2) -> Units:
    """Heads of Mamba-2: channels x and gate z, Δ and A of each; B and C are shared by all heads and stay."""
    width, inner, units = mixer.head_width, mixer.inner, mixer.heads // mixer.groups
    channels = _blocks(mixer.heads, width).view(mixer.groups, units, width).transpose(0, 1).flatten(1)
    heads = torch.arange(mixer.heads).view(mixer.groups, units).T
    rows = torch.cat((channels, channels + inner, heads + inner + mixer.convolved), 1)
    one_each = ("delta_bias", "log_a", "skip")
    slices = (
        Slice("input.weight", 0, rows),
        Slice("convolution.weight", 0, channels),
        Slice("convolution.bias", 0, channels),
        *(Slice(name, 0, heads) for name in one_each),
        Slice("norm", 0, channels),
        Slice("output.weight", 1, channels),
    )
    each = channels.shape[1]
    numbers = {("", "inner"): each, ("", "heads"): mixer.groups, ("", "convolved"): each}
    numbers |= {("input", "out_features"): rows.shape[1], ("output", "in_features"): each}
    return Units(path, slices, numbers)


def heads_of_transformer(path: str, block: TransformerBlock) -> Units:
    """A head of a Vision Transformer's layer."""
    channels = _blocks(block.heads, block.output.in_features // block.heads)
    inner, each = block.output.in_features, channels.shape[1]
    rows = torch.cat((channels, channels + inner, channels + 2 * inner), 1)
    slices = (
        Slice("query_key_value.weight", 0, rows),
        Slice("query_key_value.bias", 0, rows),
        Slice("output.weight", 1, channels),
    )
    numbers = {("", "heads"): 1, ("query_key_value", "out_features"): 3 * each}
    return Units(path, slices, numbers | {("output", "in_features"): each})


def channels_of_mlp(path: str, block: Block | TransformerBlock) -> Units:
    """A hidden channel of a layer's MLP, if it has one; with a gate two rows belong to each."""
    if block.up is None:
        return Units(path, (Slice("", 0, _blocks(0, 0)),), {})
    inner, taken = block.down.in_features, block.up.out_features // block.down.in_features
    channels = _blocks(inner, 1)
    rows = torch.cat([channels + i * inner for i in range(taken)], 1)
    slices = (
        Slice("up.weight", 0, rows),
        Slice("up.bias", 0, rows),
        Slice("down.weight", 1, channels),
    )
    return Units(path, _present(block, slices), {("up", "out_features"): taken, ("down", "in_features"): 1})


def channels_of_convolutions(path: str, block: ResidualBlock) -> Units:
    """The channels between a residual block's convolutions, as many at a time as are normalised together."""
    norm = block.norm2
    each = norm.num_channels // norm.num_groups
    channels = _blocks(norm.num_groups, each)
    inner = ("conv1.weight", "conv1.bias", "norm2.weight", "norm2.bias")
    slices = (*(Slice(name, 0, channels) for name in inner), Slice("conv2.weight", 1, channels))
    numbers = {("conv1", "out_channels"): each, ("conv2", "in_channels"): each}
    numbers |= {("norm2", "num_groups"): 1, ("norm2", "num_channels"): each}
    return Units(path, _present(block, slices), numbers)


HEADS: dict[type, Callable[[str, nn.Module], Units]] = {
    Attention: heads_of_attention,
    LocalAttention: heads_of_attention,
    Mamba2: heads_of_mamba2,
    TransformerBlock: heads_of_transformer,
}
"""Part → its heads; strided and fixed attention need them all, each has a pattern of its own."""
CHANNELS: dict[type, Callable[[str, nn.Module], Units]] = {
    Block: channels_of_mlp,
    TransformerBlock: channels_of_mlp,
    ResidualBlock: channels_of_convolutions,
}
"""Part → its inner channels."""


def units_of(network: nn.Module, kinds: dict[type, Callable[[str, nn.Module], Units]]) -> list[Units]:
    """The units of every part of a network that a table knows; parts with a single unit are left alone.

    Example:
        >>> [len(units) for units in units_of(nn.Sequential(TransformerBlock(8, heads=2)), HEADS)]
        [2]
    """
    found = [kinds[type(p)](path, p) for path, p in network.named_modules() if type(p) in kinds]
    return [units for units in found if len(units) > 1]


def _present(part: nn.Module, slices: tuple[Slice, ...]) -> tuple[Slice, ...]:
    """The slices of tensors that the part has; biases are optional."""
    own = dict(part.named_parameters())
    return tuple(piece for piece in slices if piece.tensor in own)


def _blocks(number: int, size: int) -> Int[Tensor, "U n"]:
    """Neighbouring entries to each unit."""
    return torch.arange(number * size).view(number, size)
