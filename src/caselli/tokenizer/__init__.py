"""Pictures ⟷ codes: encoder, quantizer, decoder, and how they are trained."""

from caselli.tokenizer.adversarial import CRITICS, AdversarialTask
from caselli.tokenizer.adversarial_config import AdversarialConfig
from caselli.tokenizer.base import Architecture
from caselli.tokenizer.config import TokenizerConfig
from caselli.tokenizer.convolutional import Convolutional
from caselli.tokenizer.dvae import DVAE
from caselli.tokenizer.magvit2 import MAGVIT2
from caselli.tokenizer.maskgit import MaskGIT
from caselli.tokenizer.pixels import Pixels
from caselli.tokenizer.refining import RefiningTask
from caselli.tokenizer.task import TokenizerTask
from caselli.tokenizer.titok import TiTok
from caselli.tokenizer.tokenizer import Tokenizer, TokenizerReport
from caselli.tokenizer.vit import ViT
from caselli.tokenizer.vqgan import VQGAN

ARCHITECTURES: dict[str, type[Architecture]] = {
    "convolutional": Convolutional,
    "vqgan": VQGAN,
    "vit": ViT,
    "dvae": DVAE,
    "magvit2": MAGVIT2,
    "maskgit": MaskGIT,
    "titok": TiTok,
    "pixels": Pixels,
}
"""Pairs of encoder and decoder by name."""

__all__ = [
    "ARCHITECTURES",
    "CRITICS",
    "AdversarialConfig",
    "AdversarialTask",
    "Architecture",
    "RefiningTask",
    "Tokenizer",
    "TokenizerConfig",
    "TokenizerReport",
    "TokenizerTask",
]
