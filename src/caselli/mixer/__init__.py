"""Sequence → sequence of the same shape, with an explicit state. The variants are in `MIXERS`."""

from caselli.mixer.attention import Attention
from caselli.mixer.base import FORMS, Mixer, State
from caselli.mixer.bidirectional import Bidirectional
from caselli.mixer.comba import Comba
from caselli.mixer.delta_net import DeltaNet
from caselli.mixer.fixed import FixedAttention
from caselli.mixer.flash import FLASH
from caselli.mixer.flash_quad import FLASHQuad
from caselli.mixer.forgetting import ForgettingAttention
from caselli.mixer.gated_delta_net import GatedDeltaNet
from caselli.mixer.gated_delta_net2 import GatedDeltaNet2
from caselli.mixer.gated_delta_product import GatedDeltaProduct
from caselli.mixer.gau import GAU
from caselli.mixer.gla import GatedLinearAttention
from caselli.mixer.hgrn2 import HGRN2
from caselli.mixer.kda import KimiDeltaAttention
from caselli.mixer.lasad import LASAD
from caselli.mixer.linear import Linear
from caselli.mixer.linformer import Linformer
from caselli.mixer.local import LocalAttention
from caselli.mixer.log_linear import LogLinear
from caselli.mixer.lru import LRU
from caselli.mixer.mamba import Mamba
from caselli.mixer.mamba2 import Mamba2
from caselli.mixer.mamba3 import Mamba3
from caselli.mixer.mesa_net import MesaNet
from caselli.mixer.moba import MoBA
from caselli.mixer.nsa import NativeSparseAttention
from caselli.mixer.path import PaTHAttention
from caselli.mixer.performer import Performer
from caselli.mixer.reformer import Reformer
from caselli.mixer.retention import Retention
from caselli.mixer.rwkv4 import RWKV4
from caselli.mixer.rwkv5 import RWKV5
from caselli.mixer.rwkv6 import RWKV6
from caselli.mixer.rwkv7 import RWKV7
from caselli.mixer.s4 import S4
from caselli.mixer.s4d import S4D
from caselli.mixer.strided import StridedAttention

MIXERS: dict[str, type[Mixer]] = {
    "attention": Attention,
    "forgetting": ForgettingAttention,
    "path": PaTHAttention,
    "local": LocalAttention,
    "strided": StridedAttention,
    "fixed": FixedAttention,
    "moba": MoBA,
    "nsa": NativeSparseAttention,
    "linformer": Linformer,
    "reformer": Reformer,
    "performer": Performer,
    "gau": GAU,
    "flash_quad": FLASHQuad,
    "flash": FLASH,
    "linear": Linear,
    "retention": Retention,
    "gla": GatedLinearAttention,
    "lasad": LASAD,
    "hgrn2": HGRN2,
    "mamba": Mamba,
    "mamba2": Mamba2,
    "mamba3": Mamba3,
    "delta_net": DeltaNet,
    "gated_delta_net": GatedDeltaNet,
    "kda": KimiDeltaAttention,
    "gated_delta_net2": GatedDeltaNet2,
    "comba": Comba,
    "gated_delta_product": GatedDeltaProduct,
    "log_linear": LogLinear,
    "mesa_net": MesaNet,
    "lru": LRU,
    "s4d": S4D,
    "s4": S4,
    "rwkv4": RWKV4,
    "rwkv5": RWKV5,
    "rwkv6": RWKV6,
    "rwkv7": RWKV7,
}

__all__ = [
    "FLASH",
    "FORMS",
    "GAU",
    "HGRN2",
    "LASAD",
    "LRU",
    "MIXERS",
    "RWKV4",
    "RWKV5",
    "RWKV6",
    "RWKV7",
    "S4",
    "S4D",
    "Attention",
    "Bidirectional",
    "Comba",
    "DeltaNet",
    "FLASHQuad",
    "FixedAttention",
    "ForgettingAttention",
    "GatedDeltaNet",
    "GatedDeltaNet2",
    "GatedDeltaProduct",
    "GatedLinearAttention",
    "KimiDeltaAttention",
    "Linear",
    "Linformer",
    "LocalAttention",
    "LogLinear",
    "Mamba",
    "Mamba2",
    "Mamba3",
    "MesaNet",
    "Mixer",
    "MoBA",
    "NativeSparseAttention",
    "PaTHAttention",
    "Performer",
    "Reformer",
    "Retention",
    "State",
    "StridedAttention",
]
