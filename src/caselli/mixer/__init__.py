"""Sequence → sequence of the same shape, with an explicit state. The variants are in `MIXERS`."""

from caselli.mixer.attention import Attention
from caselli.mixer.base import FORMS, Mixer, State
from caselli.mixer.delta_net import DeltaNet
from caselli.mixer.fixed import FixedAttention
from caselli.mixer.gated_delta_net import GatedDeltaNet
from caselli.mixer.gla import GatedLinearAttention
from caselli.mixer.linear import Linear
from caselli.mixer.local import LocalAttention
from caselli.mixer.mamba import Mamba
from caselli.mixer.mamba2 import Mamba2
from caselli.mixer.retention import Retention
from caselli.mixer.strided import StridedAttention

MIXERS: dict[str, type[Mixer]] = {
    "attention": Attention,
    "local": LocalAttention,
    "strided": StridedAttention,
    "fixed": FixedAttention,
    "linear": Linear,
    "retention": Retention,
    "gla": GatedLinearAttention,
    "mamba": Mamba,
    "mamba2": Mamba2,
    "delta_net": DeltaNet,
    "gated_delta_net": GatedDeltaNet,
}

__all__ = [
    "FORMS",
    "MIXERS",
    "Attention",
    "DeltaNet",
    "FixedAttention",
    "GatedDeltaNet",
    "GatedLinearAttention",
    "Linear",
    "LocalAttention",
    "Mamba",
    "Mamba2",
    "Mixer",
    "Retention",
    "State",
    "StridedAttention",
]
