"""Pictures ⟷ codes: encoder, quantizer, decoder, and how they are trained."""

from caselli.tokenizer.adversarial import AdversarialTask
from caselli.tokenizer.adversarial_config import AdversarialConfig
from caselli.tokenizer.base import Architecture
from caselli.tokenizer.build import ARCHITECTURES
from caselli.tokenizer.config import TokenizerConfig
from caselli.tokenizer.task import TokenizerTask
from caselli.tokenizer.tokenizer import Tokenizer, TokenizerReport

__all__ = [
    "ARCHITECTURES",
    "AdversarialConfig",
    "AdversarialTask",
    "Architecture",
    "Tokenizer",
    "TokenizerConfig",
    "TokenizerReport",
    "TokenizerTask",
]
