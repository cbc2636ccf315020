"""The changes that fine-tuning made to a model's prior, as a file that joins the model again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch

from caselli.errors import UserError
from caselli.files import read_tensors, write_tensors
from caselli.model.building import build_prior
from caselli.model.model import Model
from caselli.prior import Vocabulary
from caselli.shapes import Tensor
from caselli.weights import UNCOMPRESSED, narrow

KIND, VERSION = "caselli adapter", 1
LABELS, WORDS = "conditioner.label.weight", "conditioner.text.embedding.weight"
"""Embeddings that grow with labels and with words."""
FIRST_WORD = 2
"""Row of the first word: no caption, and a word that is not known, come before."""


@dataclasses.dataclass(frozen=True)
class Adapter:
    """Low-rank differences of a prior's matrices, and vectors of labels and words that it did not know."""

    file: ClassVar[str] = "adapter.safetensors"
    """The adapter's name in the folder of a run that was fine-tuned."""
    prior: str
    """Fingerprint of the prior that it changes."""
    classes: tuple[str, ...]
    """Names of the labels that are added."""
    words: tuple[str, ...]
    """Words that are added to the vocabulary."""
    matrices: Mapping[str, tuple[Tensor, Tensor]]
    """Name of a weight → B `E r` and A `r D`, whose product is added."""
    rows: Mapping[str, Tensor]
    """Name of an embedding → vectors of what is added."""

    def save(self, path: Path) -> None:
        """Writes one safetensors file."""
        tensors = {f"rows.{name}": rows for name, rows in self.rows.items()}
        for name, (up, down) in self.matrices.items():
            tensors |= {f"up.{name}": up, f"down.{name}": down}
        stamp = {"prior": self.prior, "classes": self.classes, "words": self.words}
        write_tensors(path, tensors, {"kind": KIND, "version": str(VERSION), "stamp": json.dumps(stamp)})

    @classmethod
    def load(cls, path: str | Path) -> Adapter:
        """The adapter in a file, or in the folder of a run that was fine-tuned.

        Errors: `UserError` for a file that is none, or is damaged.
        """
        path = Path(path) / cls.file if Path(path).is_dir() else Path(path)
        try:
            tensors, metadata = read_tensors(path)
            if (metadata.get("kind"), metadata.get("version")) != (KIND, str(VERSION)):
                raise UserError(f"{path} is no adapter", "a file of `caselli tune` was expected")
            stamp = json.loads(metadata["stamp"])
            own = {
                name[3:]: (up, tensors[f"down.{name[3:]}"])
                for name, up in tensors.items()
                if name[:3] == "up."
            }
            rows = {name[5:]: rows for name, rows in tensors.items() if name[:5] == "rows."}
            return cls(stamp["prior"], tuple(stamp["classes"]), tuple(stamp["words"]), own, rows)
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise UserError(f"{path} cannot be read as an adapter ({error})") from None


def grown(
    model: Model, classes: Sequence[str], text: Vocabulary | None
) -> tuple[Model, dict[str, tuple[int, int]]]:
    """The model with further labels and words, whose vectors begin at the mean of the others.

    Arguments:
        model: is not changed.
        classes: names of labels; those that it knows are no further ones.
        text: the vocabulary, which begins with the model's own.

    Returns: the model; and by the name of each embedding that grew, the first of its new rows and their
        number.
    """
    prior, old = model.require_prior(), model.classes
    everything = (*old, *dict.fromkeys(name for name in classes if name not in old))
    config, size = prior.config, model.size
    with torch.random.fork_rng():
        new, order = build_prior(config, model.tokenizer, size, len(everything), text)
    made = model.compressions.get("prior", UNCOMPRESSED)
    made = dataclasses.replace(made, packed={}, activations="")  # sums leave the grid of integers
    narrow(new, made)
    weights, added = dict(prior.state_dict()), {}
    firsts = {LABELS: len(old), WORDS: len(weights.get(WORDS, ()))}
    for name, value in new.state_dict().items():
        more = len(value) - len(weights[name]) if name in firsts and name in weights else 0
        if more:
            first, table = firsts[name], weights[name]
            mean = (table[:first] if first else table).mean(0, keepdim=True).expand(more, -1)
            weights[name] = torch.cat((table[:first], mean, table[first:]))
            added[name] = (first, more)
    new.load_state_dict(weights)
    compressions = {**model.compressions, "prior": made}
    larger = Model(model.tokenizer, new.to(model.device), order, size, everything, compressions)
    larger.decoder_teachers = model.decoder_teachers
    return larger, added


def joined(model: Model, adapters: Mapping[str | Path, float]) -> Model:
    """The model with adapters, each of a weight; a label that several know has the mean of their vectors.

    Arguments:
        model: is not changed.
        adapters: file, or folder of a run that was fine-tuned → weight of what it changes.

    Errors: `UserError` for an adapter of another prior.
    """
    read = [(Adapter.load(path), weight, path) for path, weight in adapters.items()]
    base = model.require_prior().fingerprint()
    for adapter, _, path in read:
        if adapter.prior != base:
            raise UserError(
                f"the adapter {path} belongs to another run",
                f"prior {base} was expected, {adapter.prior} found",
            )
    text = model.require_prior().alphabet.text
    if text is not None and any(adapter.words for adapter, _, _ in read):
        words = dict.fromkeys(word for adapter, _, _ in read for word in adapter.words)
        text = dataclasses.replace(text, words=(*text.words, *words))
    whole, _ = grown(model, [name for adapter, _, _ in read for name in adapter.classes], text)
    weights = dict(whole.prior.state_dict())
    for adapter, weight, _ in read:
        for name, (up, down) in adapter.matrices.items():
            weights[name] = weights[name] + weight * (up @ down).to(weights[name])
    labels = [(a.classes, a.rows.get(LABELS), weight) for a, weight, _ in read]
    _mix(weights, LABELS, whole.classes, 0, labels)
    vectors = [(a.words, a.rows.get(WORDS), weight) for a, weight, _ in read]
    _mix(weights, WORDS, getattr(text, "words", ()), FIRST_WORD, vectors)
    whole.prior.load_state_dict(weights)
    whole.prior.eval()
    return whole


def _mix(
    weights: dict[str, Tensor],
    table: str,
    names: Sequence[str],
    first: int,
    given: list[tuple[tuple[str, ...], Tensor | None, float]],
) -> None:
    """Puts the weighted means of new vectors into an embedding.

    Arguments:
        weights: of the whole prior; changed.
        table: name of the embedding.
        names, first: names of its rows, and the row of the first of them.
        given: new names, their vectors and the weight of each adapter.
    """
    for name in dict.fromkeys(name for own, _, _ in given for name in own):
        found = [(rows[own.index(name)], abs(weight)) for own, rows, weight in given if name in own]
        whole = sum(weight for _, weight in found) or 1.0
        changed = weights[table].clone()
        changed[first + names.index(name)] = sum(weight / whole * row for row, weight in found)
        weights[table] = changed
