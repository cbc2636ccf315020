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
from caselli.trained import Part, Trained

FORMAT = 1
"""Version of the files; a later one is refused."""


class Segmenter(Trained):
    """A trained network that gives every pixel a class.

    Arguments:
        network: pictures → logits.
        config: what it is made of.
        size: height and width that it was trained at, in pixels; others work too.
        classes: names of the classes.
    """

    title = stage = "segmenter"

    def __init__(
        self, network: nn.Module, config: SegmenterConfig, size: int, classes: Sequence[str]
    ) -> None:
        self.network, self.config = network, config
        self.size, self.channels, self.classes = size, config.channels, tuple(classes)

    def networks(self) -> list[nn.Module]:
        return [self.network]

    def parts(self) -> dict[str, Part]:
        return {"segmenter": Part(self.network, (self.channels, self.size, self.size))}

    @torch.no_grad()
    def segment(self, pictures: Float[Tensor, "B C H W"]) -> Int[Tensor, "B H W"]:
        """The class of every pixel."""
        return self.network(pictures.to(self.device)).argmax(1)


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
    return Segmenter(network.eval(), config, described["size"], described["classes"])
