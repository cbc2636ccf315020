"""Layers of other libraries that `bench.mixers` measures beside ours, each imported when it is built."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import nn

WIDTH = 256


@dataclasses.dataclass(frozen=True)
class Peer:
    """A layer of another library, and ours that does the same."""

    title: str
    mixer: str
    """Our mixer's name."""
    build: Callable[[], nn.Module]
    options: dict = dataclasses.field(default_factory=dict)
    """Of our mixer."""
    repeats: int = 5
    longest: int = 1 << 20
    """Tokens beyond which it takes minutes, or more memory than there is."""


def dense_attention() -> nn.Module:
    from caselli.mixer import MIXERS

    return MIXERS["attention"](WIDTH)


def mambapy() -> nn.Module:
    from mambapy.mamba import MambaBlock, MambaConfig

    return MambaBlock(MambaConfig(d_model=WIDTH, n_layers=1))


def quiet_transformers() -> None:
    """Without its advice on kernels, which it gives for each layer."""
    from transformers import logging

    logging.set_verbosity_error()


def transformers_mamba() -> nn.Module:
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    quiet_transformers()
    return MambaMixer(MambaConfig(hidden_size=WIDTH), layer_idx=0)


def transformers_mamba2() -> nn.Module:
    from transformers import Mamba2Config
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    quiet_transformers()
    config = Mamba2Config(hidden_size=WIDTH, num_heads=8, head_dim=64, n_groups=1, state_size=128)
    return Mamba2Mixer(config, layer_idx=0)


class _First(nn.Module):
    """The first of several outputs."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x)[0]


def transformers_rwkv() -> nn.Module:
    from transformers import RwkvConfig
    from transformers.models.rwkv.modeling_rwkv import RwkvSelfAttention

    module = RwkvSelfAttention(RwkvConfig(hidden_size=WIDTH, attention_hidden_size=WIDTH))
    with torch.no_grad():  # the model sets these, the layer does not
        for parameter in module.parameters():
            parameter.uniform_(-0.05, 0.05)
    return _First(module)


def flash_pytorch_gau() -> nn.Module:
    from flash_pytorch import GAU

    return GAU(dim=WIDTH, causal=True)


def flash_pytorch_flash() -> nn.Module:
    from flash_pytorch import FLASH

    return FLASH(dim=WIDTH, group_size=256, causal=True)


def linear_attention_transformer() -> nn.Module:
    from linear_attention_transformer.linear_attention_transformer import SelfAttention

    return SelfAttention(WIDTH, heads=4, causal=True)


DENSE = "ours, dense attention (SDPA)"

PEERS: tuple[Peer, ...] = (
    Peer("mambapy Mamba", "mamba", mambapy),
    Peer("transformers Mamba", "mamba", transformers_mamba, repeats=1, longest=1024),
    Peer("transformers Mamba-2", "mamba2", transformers_mamba2, {"state_size": 128}),
    Peer("transformers RWKV-4", "rwkv4", transformers_rwkv, repeats=2, longest=1024),
    Peer("flash-pytorch GAU", "gau", flash_pytorch_gau),
    Peer("flash-pytorch FLASH", "flash", flash_pytorch_flash),
    Peer("linear-attention-transformer", "linear", linear_attention_transformer, longest=4096),
    Peer(DENSE, "linear", dense_attention),
    Peer(DENSE, "local", dense_attention),
    Peer(DENSE, "strided", dense_attention),
    Peer(DENSE, "fixed", dense_attention),
)
