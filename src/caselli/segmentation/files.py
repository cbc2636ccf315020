"""A trained segmenter on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from caselli.errors import UserError
from caselli.segmentation.config import SegmenterConfig, build_segmenter
from caselli.shapes import Float, Int, Tensor
from caselli.trained import Part, Trained
from caselli.weights import load_weights, read_config, read_description, save_weights

STEM = "segmenter"
"""Name of the files in a run folder."""


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

    def save_pretrained(self, folder: str | Path) -> None:
        save_segmenter(self.network, self.config, self.size, self.classes, folder)

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
    save_weights(Path(folder) / STEM, network, {"size": size, "classes": list(classes), "config": config})


def load_segmenter(folder: str | Path) -> Segmenter:
    """The segmenter of a run folder, for evaluation.

    Errors: `UserError` if there is none, or its files are broken or of a later version.
    """
    stem = Path(folder) / STEM
    if not stem.with_suffix(".json").exists():
        raise UserError(
            f"{folder} holds no segmenter",
            "a run of a segmentation recipe was expected",
            "see `caselli train --help`",
        )
    described = read_description(stem)
    config = read_config(SegmenterConfig, described, stem)
    network = build_segmenter(config)
    load_weights(stem, network)
    return Segmenter(network, config, described["size"], described["classes"])
