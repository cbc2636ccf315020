"""Latents ⟷ codes. `QUANTIZERS` names every method; each is built as `QUANTIZERS[name](width=64)`."""

from caselli.quantizer.base import Quantized, Quantizer
from caselli.quantizer.bsq import BSQ
from caselli.quantizer.build import build
from caselli.quantizer.fsq import FSQ
from caselli.quantizer.gaussian import Gaussian
from caselli.quantizer.grouped import Grouped
from caselli.quantizer.growing import Growing
from caselli.quantizer.gumbel import Gumbel
from caselli.quantizer.ibq import IBQ
from caselli.quantizer.identity import Identity
from caselli.quantizer.lfq import LFQ
from caselli.quantizer.multi_head import MultiHead
from caselli.quantizer.multi_scale import MultiScale
from caselli.quantizer.residual import Residual
from caselli.quantizer.simvq import SimVQ
from caselli.quantizer.uniform import Uniform
from caselli.quantizer.vq import VQ

QUANTIZERS: dict[str, type[Quantizer]] = {
    "vq": VQ,
    "growing": Growing,
    "gumbel": Gumbel,
    "fsq": FSQ,
    "lfq": LFQ,
    "bsq": BSQ,
    "ibq": IBQ,
    "simvq": SimVQ,
    "residual": Residual,
    "grouped": Grouped,
    "multi_head": MultiHead,
    "multi_scale": MultiScale,
    "uniform": Uniform,
    "identity": Identity,
    "gaussian": Gaussian,
}

__all__ = [
    "BSQ",
    "FSQ",
    "IBQ",
    "LFQ",
    "QUANTIZERS",
    "VQ",
    "Gaussian",
    "Grouped",
    "Growing",
    "Gumbel",
    "Identity",
    "MultiHead",
    "MultiScale",
    "Quantized",
    "Quantizer",
    "Residual",
    "SimVQ",
    "Uniform",
    "build",
]
