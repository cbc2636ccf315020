"""Small folders of pictures that tests train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

TINY = {
    "tokenizer.width": 16,
    "tokenizer.latent_width": 8,
    "tokenizer.quantizer_options.codebook_size": 16,
    "prior.width": 32,
    "prior.depth": 2,
    "prior.mixer_options.heads": 2,
    "training.tokenizer.batch": 8,
    "training.prior.batch": 8,
    "training.tokenizer.validations": 2,
    "training.prior.validations": 2,
    "precision": "float32",
    "reading.seconds": 0.5,
    "reading.samples": 8,
    "reading.judged": 0,
    "data.workers": 0,
}
"""Changes that make the tiny recipe a matter of seconds."""


def options(changes: dict[str, object]) -> list[str]:
    """The changes as arguments of `caselli train`."""
    return [word for name, value in changes.items() for word in (f"--{name}", str(value))]


def bars_and_stripes(folder: Path, count: int = 40, size: int = 16) -> Path:
    """Two class folders: dark bars that stand, dark bars that lie, at random places."""
    random = np.random.default_rng(0)
    for number in range(count):
        picture = np.full((size, size), 255, dtype=np.uint8)
        start = random.integers(0, size - 4)
        lying = number % 2
        picture[(slice(start, start + 4), slice(None))[:: 1 if lying else -1]] = random.integers(0, 100)
        target = folder / ("lying" if lying else "standing")
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(target / f"{number:03}.png")
    return folder


def equal_weights(a: Path, b: Path) -> bool:
    """Whether both stages of two runs have the same bits."""
    from safetensors.torch import load_file

    for name in ("tokenizer.safetensors", "prior.safetensors"):
        left, right = load_file(a / name), load_file(b / name)
        if left.keys() != right.keys() or any(not torch.equal(left[k], right[k]) for k in left):
            return False
    return True
