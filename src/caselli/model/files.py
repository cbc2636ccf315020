"""Tokenizers, priors and models in a run folder: weights and plain data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from caselli.errors import UserError
from caselli.model.building import build_prior
from caselli.model.model import Model
from caselli.order import ORDERS, Order
from caselli.prior import Prior, PriorConfig, described_vocabulary, read_vocabulary
from caselli.tokenizer import Tokenizer, TokenizerConfig
from caselli.weights import (
    UNCOMPRESSED,
    Compression,
    load_weights,
    read_compression,
    read_config,
    read_description,
    save_weights,
)

GUIDES = ("guide", "early")
"""Names of a prior's guide: one that was trained as such, and the prior itself early in its training. The
first that is there counts."""


def save_tokenizer(
    tokenizer: Tokenizer,
    folder: Path,
    size: int,
    compression: Compression = UNCOMPRESSED,
    teachers: Sequence[str] = (),
) -> None:
    """`tokenizer.safetensors` and `tokenizer.json`: weights, and the plain data that rebuild them; with the
    networks that taught its decoder besides those of its configuration, where it was refined."""
    described = {"config": tokenizer.config, "size": size}
    described |= {"teachers": list(teachers)} if teachers else {}
    described |= {"stamp": tokenizer.stamp} if tokenizer.stamp else {}
    save_weights(folder / "tokenizer", tokenizer, described, compression)


def save_prior(
    prior: Prior,
    folder: Path,
    tokenizer: str,
    classes: Sequence[str],
    compression: Compression = UNCOMPRESSED,
    name: str = "prior",
) -> None:
    """`prior.safetensors` and `prior.json`; `tokenizer` is the fingerprint of the codes' tokenizer. A weaker
    prior that guides it has one of the names `GUIDES`."""
    described = {
        "config": prior.config,
        "tokenizer": tokenizer,
        "classes": list(classes),
        "text": described_vocabulary(prior.alphabet.text),
    }
    save_weights(folder / name, prior, described, compression)


def save_model(model: Model, folder: Path) -> None:
    """Both parts of a model, as small as they were loaded."""
    made = model.compressions
    compression = made.get("tokenizer", UNCOMPRESSED)
    save_tokenizer(model.tokenizer, folder, model.size, compression, model.decoder_teachers)
    if model.prior is not None:
        fingerprint, prior = model.tokenizer.fingerprint(), made.get("prior", UNCOMPRESSED)
        save_prior(model.prior, folder, fingerprint, model.classes, prior)
    if model.guide is not None:
        save_prior(model.guide, folder, model.tokenizer.fingerprint(), model.classes, name=GUIDES[0])


def save_decoder(tokenizer: Tokenizer, folder: Path, teachers: Sequence[str]) -> None:
    """`decoder.safetensors` and `decoder.json`: a decoder trained on what the prior draws, beside the
    tokenizer, whose codes and fingerprint stay as they are."""
    stamped = load_tokenizer(folder)[0].fingerprint()
    described = {"tokenizer": stamped, "teachers": list(teachers)}
    save_weights(folder / "decoder", tokenizer.decoder, described)


def holds_decoder(folder: Path, fingerprint: str | None = None) -> bool:
    """True where a run has a decoder of its own for its tokenizer as it is now.

    Arguments:
        folder: the run.
        fingerprint: of the tokenizer in the folder, where it is known.
    """
    if not (folder / "decoder.json").exists():
        return False
    stamped = fingerprint or load_tokenizer(folder)[0].fingerprint()
    return read_description(folder / "decoder").get("tokenizer") == stamped


def load_tokenizer(folder: Path) -> tuple[Tokenizer, int]:
    """The tokenizer of a run folder, and the picture size it was trained at."""
    described = read_description(folder / "tokenizer")
    tokenizer = Tokenizer(read_config(TokenizerConfig, described, folder / "tokenizer"))
    load_weights(folder / "tokenizer", tokenizer)
    tokenizer.stamp = str(described.get("stamp", ""))
    return tokenizer, described["size"]


def load(run: str | Path) -> Model:
    """The model of a run folder; runs no code of the folder's, only weights and plain data are read.

    A decoder that was trained on what the prior draws takes the place of the tokenizer's own.

    Errors: `UserError` for a folder without a tokenizer, damaged files, or a prior of another tokenizer.
    """
    folder = Path(run)
    if not (folder / "tokenizer.json").exists():
        raise UserError(
            f"{folder} was given as a run",
            "a folder with a trained tokenizer was expected",
            "make one with `caselli train SOURCE -o RUN`",
        )
    model = load_unrefined(folder)
    fingerprint = model.tokenizer.fingerprint()
    if holds_decoder(folder, fingerprint):
        model.tokenizer.stamp = fingerprint  # codes that were made before are its codes
        load_weights(folder / "decoder", model.tokenizer.decoder)
        model.decoder_teachers += tuple(read_description(folder / "decoder").get("teachers", ()))
    return model


def load_unrefined(folder: Path) -> Model:
    """The model of a run folder with the decoder that the tokenizer was trained with."""
    tokenizer, size = load_tokenizer(folder)
    made = {"tokenizer": read_compression(folder / "tokenizer")}
    teachers = tuple(read_description(folder / "tokenizer").get("teachers", ()))
    if not (folder / "prior.json").exists():
        model = Model(tokenizer, None, ORDERS["raster"](), size, compressions=made)
        model.decoder_teachers = teachers
        return model
    stamped, fingerprint = _stamp(folder / "prior"), tokenizer.fingerprint()
    if stamped != fingerprint:
        raise UserError(
            f"the prior in {folder} was trained on the codes of another tokenizer",
            f"fingerprint {fingerprint} was expected, {stamped} found",
            "train the prior anew: caselli train ... --stage prior",
        )
    prior, order, classes, made["prior"] = _load_prior(folder / "prior", tokenizer, size)
    model = Model(tokenizer, prior, order, size, classes, made)
    model.decoder_teachers = teachers
    for name in GUIDES:
        path = folder / name
        if model.guide is None and path.with_suffix(".json").exists() and _stamp(path) == fingerprint:
            model.guide = _load_prior(path, tokenizer, size)[0].eval()
    return model


def _stamp(path: Path) -> str:
    """Fingerprint of the tokenizer that something was trained on."""
    return read_description(path)["tokenizer"]


def _load_prior(
    path: Path, tokenizer: Tokenizer, size: int
) -> tuple[Prior, Order, Sequence[str], Compression]:
    """A prior, its order, the names of its labels, and how it was made smaller."""
    described = read_description(path)
    config = read_config(PriorConfig, described, path)
    text = read_vocabulary(described.get("text"))
    prior, order = build_prior(config, tokenizer, size, len(described["classes"]), text)
    return prior, order, described["classes"], load_weights(path, prior)
