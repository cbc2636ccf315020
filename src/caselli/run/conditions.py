"""The conditions of a run's prior: captions, and the codes of another picture."""

from __future__ import annotations

import functools
from functools import partial

import torch

from caselli import data
from caselli.data import Pictures, enlarged, with_size
from caselli.errors import UserError
from caselli.model import condition_size, encoded
from caselli.prior import NO_CONDITION, PriorConfig, Vocabulary, vocabulary_of
from caselli.run.config import DataConfig
from caselli.run.two_stage_config import TwoStageConfig
from caselli.shapes import Float, Int, Shaped, Tensor
from caselli.tokenizer import Tokenizer


def check_condition(pictures: Pictures, config: TwoStageConfig) -> None:
    """Raises `UserError` for another picture that is not there, or a factor that does not divide the size."""
    condition_size(config.prior, pictures.size)
    if config.prior.condition_picture == "paired":
        paired(pictures, config.data)


def encode_condition(
    tokenizer: Tokenizer,
    pictures: Pictures,
    config: TwoStageConfig,
    views: int,
    augment: data.Augment,
    seed: int,
    wanted: range | None = None,
) -> Int[Tensor, "n P"] | None:
    """The codes of the other picture that the prior is told of, for every view, or for some of the batches;
    None where there is none."""
    side = condition_size(config.prior, pictures.size)
    if not side:
        return None
    others, shown = pictures, data.to_float
    if config.prior.condition_picture == "low_resolution":
        shown = partial(_made_small, side=side)
    else:
        others = paired(pictures, config.data)
    return torch.cat(list(encoded(tokenizer, others, shown, views, augment, seed, wanted=wanted))).flatten(1)


def _made_small(pixels: Shaped[Tensor, "n C H W"], side: int) -> Float[Tensor, "n C H W"]:
    """Large pictures made small and enlarged again: what a small picture leaves of them."""
    return enlarged(data.to_float(with_size(pixels, side)), pixels.shape[-1] // side)


@functools.lru_cache(maxsize=2)  # asked for by every piece of an encoding
def paired(pictures: Pictures, config: DataConfig) -> Pictures:
    """For each picture that of the same name, but for the suffix, in the folder of pairs.

    Errors: `UserError` where there is no folder, and for a picture without another.
    """
    if not config.paired:
        raise UserError(
            "condition_picture paired was given without pictures",
            "a folder of pairs was expected",
            "give it with --data.paired FOLDER",
        )
    everything = data.open(config.paired, size=pictures.size, channels=pictures.channels, split="all")
    places = {_stem(name): place for place, name in enumerate(everything.names)}
    missing = [name for name in pictures.names if _stem(name) not in places]
    if missing:
        raise UserError(
            f"{config.paired} has no picture for {len(missing)} of {len(pictures)}, {missing[0]} first",
            "one of equal name but for the suffix was expected for each",
        )
    return everything.subset(torch.tensor([places[_stem(name)] for name in pictures.names]))


def _stem(name: str) -> str:
    return name.rsplit(".", 1)[0]


def vocabulary(config: PriorConfig, pictures: Pictures) -> Vocabulary | None:
    """Vocabulary in which the prior reads the captions; None where there are none, or none are wanted."""
    if config.text == NO_CONDITION or pictures.captions is None:
        return None
    captions = pictures.captions
    if pictures.all_captions is not None:
        captions = [caption for several in pictures.all_captions for caption in several]
    return vocabulary_of(config.text, config.text_length, config.text_path, captions)
