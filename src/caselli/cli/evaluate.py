"""`caselli evaluate RUN SOURCE [--features NETWORK] [--json]`."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable
from typing import Any

from caselli.cli import family
from caselli.cli.parser import add_run, parser
from caselli.cli.sampling import add_sampling, sampling
from caselli.errors import UnknownName, UserError

NETWORKS = ("inception", "vgg", "reader", "random")
TRAINED = ("inception", "vgg")


def run(arguments: list[str]) -> None:
    """Parses, evaluates on held-out pictures, prints."""
    given = _options().parse_args(arguments)
    _check(given)
    if family.is_family(given.run):
        family.evaluate(given)
        return

    from caselli.cli.pictures import source_for
    from caselli.evaluate.captions import captioned
    from caselli.evaluate.model import evaluate_model
    from caselli.evaluate.perceptual import perceptual_distance
    from caselli.model import load

    model = load(given.run)
    pictures = source_for(model, given.source, given.split)
    if given.captions:
        captioned(model, pictures)  # none there is told before anything is measured
    if given.upscaling:
        model.require_small_size()
    distance = perceptual_distance(given.lpips)
    figures = dataclasses.asdict(evaluate_model(model, pictures, distance=distance))
    del figures["code_counts"]
    if given.features:
        figures["reconstructions_against_originals"] = _distances(given, model, pictures)
    if given.captions:
        figures |= _captions(given, model, pictures)
    if given.upscaling:
        figures["upscaling"] = _upscaling(given, model, pictures, distance)
    if given.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        _say(name, value)


def _options() -> argparse.ArgumentParser:
    options = parser("evaluate", "Measures reconstruction, codebook use and likelihood on held-out pictures.")
    add_run(options)
    options.add_argument("source", metavar="SOURCE", help="pictures: a set, a folder, an archive")
    options.add_argument("--split", default="held_out", help="train, held_out or all (held_out)")
    options.add_argument(
        "--features",
        metavar="NETWORK",
        help="inception (rFID and rKID), vgg, reader (a small classifier of the training pictures) or random "
        "(VGG-16 untrained): Fréchet and kernel distance, precision and recall of the reconstructions "
        "against their originals",
    )
    options.add_argument("--weights", metavar="FILE", help="published weights of inception or vgg")
    options.add_argument("--reader-steps", type=int, default=150, help="training of the reader (150)")
    options.add_argument("--lpips", metavar="FILE", help="VGG-16's published weights, for LPIPS")
    options.add_argument(
        "--captions",
        action="store_true",
        help="how well pictures rank their own caption, and pictures drawn for a caption its own picture",
    )
    options.add_argument(
        "--upscaling",
        action="store_true",
        help="pictures drawn from smaller ones, beside bicubic enlargement and reconstructions",
    )
    options.add_argument("--among", type=int, default=32, help="captions that a picture ranks (32)")
    options.add_argument("--samples", type=int, default=8, help="pictures drawn for a caption (8)")
    add_sampling(options)
    options.add_argument("--json", action="store_true", help="print one JSON object")
    return options


def _check(given: argparse.Namespace) -> None:
    """Mistakes are told before anything is loaded."""
    if given.captions and min(given.among - 1, given.samples) < 1:
        raise UserError(
            f"among {given.among} and samples {given.samples} were given",
            "at least 2 captions and 1 sample were expected",
        )
    if given.features is None:
        if given.weights is not None:
            raise UserError("weights were given without features", "--features inception or vgg was expected")
        return
    if given.features not in NETWORKS:
        raise UnknownName("features", given.features, NETWORKS)
    if (given.features in TRAINED) != (given.weights is not None):
        raise UserError(
            f"features {given.features!r} were asked for "
            + ("with" if given.weights else "without")
            + " weights",
            "a local file of published weights for inception and vgg, and none for the others, was expected",
            "give --weights FILE, or --features reader for a classifier trained on the pictures themselves",
        )


def _captions(given: argparse.Namespace, model: Any, pictures: Any) -> dict[str, Any]:
    """The ranking by likelihood, and those of what is drawn in two kinds of features, told in words."""
    from caselli.cli.pictures import source_for
    from caselli.evaluate import pooled_pixels, rank_captions, rank_pictures
    from caselli.features import features_of, own_features

    drawn, samples = sampling(given), given.samples
    network = own_features(source_for(model, given.source, "train"), given.reader_steps)
    measures = {
        "captions_ranked_by_likelihood": lambda: rank_captions(model, pictures, given.among),
        "pictures_ranked_by_pixels_of_samples": lambda: rank_pictures(
            model, pictures, pooled_pixels, samples, options=drawn
        ),
        "pictures_ranked_by_features_of_samples": lambda: rank_pictures(
            model, pictures, lambda x: features_of(network, x), samples, options=drawn
        ),
    }
    return {name: dataclasses.asdict(measure()) for name, measure in measures.items()}


def _upscaling(given: argparse.Namespace, model: Any, pictures: Any, distance: Any) -> dict[str, Any]:
    from caselli.evaluate.upscaling import evaluate_upscaling
    from caselli.features import VGG16

    network = VGG16.untrained().to(model.device)
    return dataclasses.asdict(evaluate_upscaling(model, pictures, network, sampling(given), distance))


def _distances(given: argparse.Namespace, model: Any, pictures: Any) -> dict[str, Any]:
    """The set of reconstructions against the set of originals, with the protocol in words."""
    from caselli.cli.pictures import source_for
    from caselli.evaluate.reconstruction import reconstruction_distances
    from caselli.features import VGG16, Inception, own_features

    networks: dict[str, Callable[[], Any]] = {
        "inception": lambda: Inception.load(given.weights),
        "vgg": lambda: VGG16.load(given.weights),
        "reader": lambda: own_features(source_for(model, given.source, "train"), given.reader_steps),
        "random": VGG16.untrained,
    }
    network = networks[given.features]().to(model.device)
    reference = f"{pictures.name}, {given.split.replace('_', ' ')}, at {model.size} pixels"
    found = dataclasses.asdict(reconstruction_distances(model, pictures, network, reference))
    short = {"frechet": "rFID", "kernel": "rKID", "kernel_deviation": "rKID_deviation"}
    if given.features != "inception":
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
