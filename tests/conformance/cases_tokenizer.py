"""How each architecture is built small, for the laws of tokenizers and of exported programs."""

from __future__ import annotations

from caselli.tokenizer import ARCHITECTURES

LEARNED = [name for name in ARCHITECTURES if name != "pixels"]
"""Architectures with something to learn; `pixels` is two identities."""
OPTIONS = {
    "vqgan": {"groups": 4},
    "vit": {"tokens": 6, "model_width": 16, "depth": 2, "heads": 2},
    "dvae": {"first_width": 8},
    "magvit2": {"groups": 4},
    "maskgit": {"groups": 4},
    "titok": {"tokens": 6, "model_width": 16, "depth": 2, "heads": 2},
}
"""Options that an architecture needs to be small; none where it is not named."""
SMALL = {"size": 16, "factor": 4, "width": 8, "latent_width": 8, "quantizer_options": {"codebook_size": 16}}
"""What all have in common."""
