"""`caselli evaluate RUN SOURCE [--features NETWORK] [--json]`."""

from __future__ import annotations

import dataclasses
import json as plain
from collections.abc import Callable
from typing import Any

from caselli.errors import UnknownName, UserError
from caselli.sampling import AS_LEARNED, Sampling

NETWORKS = ("inception", "vgg", "reader", "random")
TRAINED = ("inception", "vgg")


@dataclasses.dataclass(frozen=True)
class More:
    """Further measurements of a run with a tokenizer."""

    features: str = ""
    """Network for Fréchet and kernel distance, precision and recall of the reconstructions: inception (rFID
    and rKID), vgg, reader (a small classifier of the training pictures) or random (VGG-16 untrained)."""
    weights: str = ""
    """File of published weights of inception or vgg."""
    reader_steps: int = 150
    """Training steps of the reader."""
    lpips: str = ""
    """File of VGG-16's published weights, for LPIPS."""
    captions: bool = False
    """Rank each picture's own caption, and its own picture among those drawn for a caption."""
    upscaling: bool = False
    """Measure pictures drawn from smaller ones, beside bicubic enlargement and reconstructions."""
    among: int = 32
    """Captions that a picture ranks."""
    samples: int = 8
    """Pictures drawn for a caption."""

    def __post_init__(self) -> None:
        if self.captions and min(self.among - 1, self.samples) < 1:
            raise UserError(
                f"among {self.among} and samples {self.samples} were given",
                "at least 2 captions and 1 sample were expected",
            )
        if self.weights and not self.features:
            raise UserError("weights were given without features", "--features inception or vgg was expected")
        if self.features and self.features not in NETWORKS:
            raise UnknownName("features", self.features, NETWORKS)
        if (self.features in TRAINED) != bool(self.weights):
            raise UserError(
                f"features {self.features!r} were asked for {'with' if self.weights else 'without'} weights",
                "a file of published weights for inception and vgg, and none for the others, was expected",
                "give --weights FILE, or --features reader for a classifier of the pictures themselves",
            )


def command(
    run: str,
    source: str,
    *,
    split: str = "held_out",
    more: More,
    sampling: Sampling = AS_LEARNED,
    json: bool = False,
) -> None:
    """Measures reconstruction, codebook use and likelihood on held-out pictures.

    Arguments:
        json: print one JSON object.
    """
    from caselli.model import load as load_two_stages
    from caselli.run import kind_of, load

    if more.features or more.captions or more.upscaling:
        figures = _all(load_two_stages(run), run, source, split, more, sampling)
    else:
        figures = kind_of(run).evaluate(load(run), source, split, more.lpips or None)
    if json:
        print(plain.dumps(figures))
        return
    for name, value in figures.items():
        _say(name, value)


def _all(model: Any, run: str, source: str, split: str, more: More, sampling: Sampling) -> dict[str, Any]:
    """The figures of a run of two stages, with those that only such a run has."""
    from caselli.cli.pictures import source_for
    from caselli.evaluate import captioned
    from caselli.run import kind_of

    pictures = source_for(model, source, split)
    if more.captions:
        captioned(model, pictures)  # raises before anything is measured
    if more.upscaling:
        model.require_small_size()
    figures = kind_of(run).evaluate(model, source, split, more.lpips or None)
    if more.features:
        figures["reconstructions_against_originals"] = _distances(model, source, pictures, split, more)
    if more.captions:
        figures |= _captions(model, source, pictures, more, sampling)
    if more.upscaling:
        figures["upscaling"] = _upscaling(model, pictures, more, sampling)
    return figures


def _captions(model: Any, source: str, pictures: Any, more: More, sampling: Sampling) -> dict[str, Any]:
    """The ranking by likelihood, and those of samples in two kinds of features."""
    from caselli.cli.pictures import source_for
    from caselli.evaluate import pooled_pixels, rank_captions, rank_pictures
    from caselli.features import features_of, own_features

    network = own_features(source_for(model, source, "train"), more.reader_steps)
    samples = {"samples": more.samples, "options": sampling}
    measures = {
        "captions_ranked_by_likelihood": lambda: rank_captions(model, pictures, more.among),
        "pictures_ranked_by_pixels_of_samples": lambda: rank_pictures(
            model, pictures, pooled_pixels, **samples
        ),
        "pictures_ranked_by_features_of_samples": lambda: rank_pictures(
            model, pictures, lambda x: features_of(network, x), **samples
        ),
    }
    return {name: dataclasses.asdict(measure()) for name, measure in measures.items()}


def _upscaling(model: Any, pictures: Any, more: More, sampling: Sampling) -> dict[str, Any]:
    from caselli.evaluate import evaluate_upscaling, perceptual_distance
    from caselli.features import VGG16

    distance = perceptual_distance(more.lpips or None)
    network = VGG16.untrained().to(model.device)
    return dataclasses.asdict(evaluate_upscaling(model, pictures, network, sampling, distance))


def _distances(model: Any, source: str, pictures: Any, split: str, more: More) -> dict[str, Any]:
    """The set of reconstructions against the set of originals, with the protocol in words."""
    from caselli.cli.pictures import source_for
    from caselli.evaluate import reconstruction_distances
    from caselli.features import VGG16, Inception, own_features

    networks: dict[str, Callable[[], Any]] = {
        "inception": lambda: Inception.load(more.weights),
        "vgg": lambda: VGG16.load(more.weights),
        "reader": lambda: own_features(source_for(model, source, "train"), more.reader_steps),
        "random": VGG16.untrained,
    }
    network = networks[more.features]().to(model.device)
    reference = f"{pictures.name}, {split.replace('_', ' ')}, at {model.size} pixels"
    found = dataclasses.asdict(reconstruction_distances(model, pictures, network, reference))
    short = {"frechet": "rFID", "kernel": "rKID", "kernel_deviation": "rKID_deviation"}
    if more.features != "inception":
        return found
    return {short.get(name, name): value for name, value in found.items()}


def _say(name: str, value: Any) -> None:
    """One line, or for a group of figures its name and theirs below it."""
    words = name.replace("_", " ")
    if isinstance(value, dict):
        print(words)
        for inner, one in value.items():
            _say(f"  {inner}", one)
    else:
        print(f"{words:<28} {_shown(value):>12}")


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "none"
    return "none" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
