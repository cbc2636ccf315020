"""Pictures ⟷ codes: encoder, quantizer, decoder, and how they are trained."""

from caselli.tokenizer.config import TokenizerConfig
from caselli.tokenizer.task import TokenizerTask
from caselli.tokenizer.tokenizer import Tokenizer, TokenizerReport

__all__ = ["Tokenizer", "TokenizerConfig", "TokenizerReport", "TokenizerTask"]
