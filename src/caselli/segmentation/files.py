"""A trained segmenter on disk."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from caselli.errors import UserError
from caselli.files import atomic_write, write_text
from caselli.segmentation.config import SegmenterConfig, build_segmenter
from caselli.shapes import Float, Int, Tensor

FORMAT = 1
"""Version of the files; a later one is refused."""


@dataclasses.dataclass(frozen=True)
class Segmenter:
    """A trained network with what is known of it."""

    network: nn.Module
    """Pictures → logits."""
    config: SegmenterConfig
    size: int
    """Height and width that it was trained at, in pixels; others work too."""
    classes: tuple[str, ...]
    """The names of the classes."""

    @torch.no_grad()
    def segment(self, pictures: Float[Tensor, "B C H W"]) -> Int[Tensor, "B H W"]:
        """The class of every pixel."""
        device = next(self.network.parameters()).device
        return self.network(pictures.to(device)).argmax(1)


def save_segmenter(
    network: nn.Module, config: SegmenterConfig, size: int, classes: Sequence[str], folder: str | Path
) -> None:
    """Writes `segmenter.safetensors`, then `segmenter.json`, which says that it is whole."""
    folder = Path(folder)
    with atomic_write(folder / "segmenter.safetensors") as temporary:
        save_file({k: v.contiguous().cpu() for k, v in network.state_dict().items()}, temporary)
    described = {
        "format": FORMAT,
        "size": size,
        "classes": list(classes),
        "config": dataclasses.asdict(config),
    }
    write_text(folder / "segmenter.json", json.dumps(described, indent=2))


def load_segmenter(folder: str | Path) -> Segmenter:
    """The segmenter of a run folder, for evaluation.

    Errors: `UserError` if there is none, or its files are broken or of a later version.
    """
    folder = Path(folder)
    try:
        described = json.loads((folder / "segmenter.json").read_text(encoding="utf-8"))
        if described["format"] > FORMAT:
            raise UserError(
                f"{folder} was written by a later version", f"format {FORMAT} was expected", "update caselli"
            )
        config = SegmenterConfig(**described["config"])
        network = build_segmenter(config)
        network.load_state_dict(load_file(folder / "segmenter.safetensors"))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"the segmenter in {folder} cannot be read ({error})",
            "a run of a segmentation recipe was expected",
            "see `caselli train --help`",
        ) from None
    return Segmenter(network.eval(), config, described["size"], tuple(described["classes"]))
