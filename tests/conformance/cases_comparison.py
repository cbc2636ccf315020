"""Every comparison at a tiny size: its settings, others that it must refuse, what a clock decides."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Sources:
    """What comparisons are made of."""

    pictures: Path
    """Labelled pictures of 16 pixels."""
    larger: Path
    """Pictures of 32 pixels."""
    masks: Path
    """Pictures with masks."""
    runs: tuple[str, str]
    """Two small runs on `pictures`, both stages."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A tiny comparison."""

    settings: Callable[[Sources], dict[str, Any]]
    other: dict[str, Any]
    """A setting with which it must not go on."""
    changes: dict[str, Any] | None = None
    """Fields of the runs that it trains."""
    pictures: bool = True
    """False where there are no pictures to show."""
    timed: Callable[[Any], bool] = lambda row: False
    """Rows that a clock decides, beside the fields that say so themselves."""


TINY = {
    "tokenizer.width": 8,
    "tokenizer.latent_width": 8,
    "training.tokenizer.batch": 8,
    "training.tokenizer.validations": 1,
    "precision": "float32",
    "data.workers": 0,
}

CASES: dict[str, Case] = {
    "quantizers": Case(
        lambda given: {
            "source": str(given.pictures),
            "quantizers": ("vq", "identity"),
            "steps": 2,
            "prior_steps": 2,
        },
        {"steps": 3},
        TINY,
    ),
    "estimators": Case(
        lambda given: {"problem": "three_bernoulli", "estimators": ("score", "relax", "arm"), "repeats": 20},
        {"samples": 2},
        pictures=False,
    ),
    "autoencoders": Case(
        lambda given: {
            "source": str(given.pictures),
            "estimators": ("score, leave one out", "relax", "vimco"),
            "latents": 4,
            "steps": 4,
            "batch": 4,
            "most": 8,
        },
        {"latents": 5},
        pictures=False,
    ),
    "divergences": Case(
        lambda given: {"targets": ("ring",), "divergences": ("kl", "mmd", "hinge"), "steps": 2},
        {"components": 3},
        pictures=False,
    ),
    "mixers": Case(
        lambda given: {
            "tasks": ("permuted_digits", "selective_copying"),
            "mixers": ("linear", "linformer"),
            "steps": 4,
            "width": 16,
            "depth": 1,
            "state": 8,
            "parameters": 20,
            "jobs": 1,
        },
        {"steps": 5},
        pictures=False,
        timed=lambda row: row.measure == "time",
    ),
    "resamplers": Case(
        lambda given: {"source": str(given.larger), "resamplers": ("bilinear", "blur"), "steps": 2},
        {"steps": 3},
    ),
    "segmenters": Case(
        lambda given: {
            "source": str(given.masks),
            "resamplers": ("nearest", "bilinear"),
            "steps": 2,
            "width": 4,
        },
        {"width": 8},
    ),
    "priors": Case(
        lambda given: {
            "source": str(given.pictures),
            "mixers": ("lasad", "linear+gated_delta_product:steps=1"),
            "steps": 2,
            "tokenizer_steps": 2,
            "width": 16,
            "depth": 2,
            "batch": 8,
            "samples": 8,
        },
        {"steps": 3},
        TINY,
    ),
    "samples": Case(lambda given: {"runs": given.runs}, {"seed": 1}),
    "guidance": Case(
        lambda given: {
            "run": given.runs[0],
            "source": str(given.pictures),
            "strengths": (1.0, 3.0),
            "each": 3,
            "classifier_steps": 2,
        },
        {"each": 4},
    ),
    "codecs": Case(
        lambda given: {"source": str(given.pictures), "runs": given.runs, "most": 4, "shown": 2},
        {"most": 5},
    ),
    "slim": Case(
        lambda given: {"source": str(given.pictures), "runs": given.runs, "pictures": 8},
        {"pictures": 7},
    ),
    "bits": Case(
        lambda given: {
            "source": str(given.pictures),
            "bits": (3, 40),
            "steps": 2,
            "recipe": "tiny",
            "samples": 8,
        },
        {"steps": 3},
        TINY | {"prior.width": 16, "prior.depth": 1},
    ),
    "reconstructions": Case(
        lambda given: {"source": str(given.pictures), "runs": given.runs, "split": "all", "shown": 4},
        {"split": "held_out"},
    ),
}
