"""Checkpoints of others as a run of ours: what each file is, and the networks that its weights fill."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import caselli.interop as room  # the door's table is whole by the time that this is called
from caselli.errors import UserError, lookup
from caselli.interop.layout import BETAS, Codes, Converted, Family, Hints, at_any_depth, fill
from caselli.interop.origin import File, Origin, Part
from caselli.layer import count_parameters
from caselli.model import build_prior, grid_of, load_tokenizer
from caselli.prior import Prior, PriorConfig, Vocabulary, vocabulary_of
from caselli.tokenizer import Tokenizer, TokenizerConfig
from caselli.weights import Checkpoint, Weights, read_checkpoint, widened

SIZE = 256
"""Height and width in pixels that a tokenizer is used at, where its files do not say."""


@dataclasses.dataclass(frozen=True)
class Imported:
    """Networks made from checkpoints."""

    tokenizer: Tokenizer
    """In evaluation mode, float32."""
    size: int
    """Height and width of the pictures that it is used at."""
    prior: Prior | None = None
    """In evaluation mode, float32; None where the files have none."""
    classes: tuple[str, ...] = ()
    """Names of the prior's labels: their numbers, as files have no names."""
    origin: Origin | None = None
    """Contents of the files, and the way back to them."""
    files: tuple[Weights, ...] = ()
    """Tensors of the files."""
    words: tuple[str, ...] = ()
    """A line about each file: what it is."""

    def describe_prior(self) -> str:
        """The prior in a line."""
        config = self.prior.config
        mixer = ", ".join(config.mixers())
        heads = config.mixer_options.get("heads")
        said = f" of {heads} heads" if heads else ""
        numbers = f"{config.depth} layers of {mixer}{said}, width {config.width}"
        labels = f"{len(self.classes)} labels" if self.classes else "no labels"
        if self.prior.alphabet.text is not None:
            labels = f"captions of {self.prior.alphabet.text.length} tokens"
        return (
            f"{config.kind} prior: {numbers}, {labels}, {count_parameters(self.prior) / 1e6:.2f} M parameters"
        )

    def save(self, folder: Path) -> None:
        """Writes the way back to the files into a run's folder."""
        if self.origin is not None:
            self.origin.save(folder, self.files)


def import_tokenizer(
    paths: Sequence[str | Path], family: str, size: int | None = None, groups: int | None = None
) -> Imported:
    """Reads a tokenizer's checkpoint of others; no code in it is run.

    Arguments:
        paths: the file; encoder and decoder where the family has two; a folder of diffusers.
        family: name in `IMPORTERS`.
        size: height and width of the pictures it is used at; by default the config.json's beside the file, or
            256.
        groups: groups of the normalisations; by default the config.json's, or 32.

    Errors: `UserError` for an unknown family, a file of another family, missing or unknown weights, a damaged
    file, and one that holds code.

    Example:
        >>> import_tokenizer(["last.ckpt"], "taming").tokenizer  # doctest: +SKIP
    """
    return import_files(paths, Hints(size=size, groups=groups), family)


def import_files(
    paths: Sequence[str | Path], hints: Hints | None = None, family: str | None = None
) -> Imported:
    """Reads checkpoints of others, tokenizer and prior; no code in them is run.

    Arguments:
        paths: files and folders of weights, in any order; the folder of a run stands for its tokenizer.
        hints: what the files leave open.
        family: name in `IMPORTERS` of every file; by default each is recognised by its weights.

    Errors: `UserError` for a file of no family, missing or unknown weights, networks that do not fit each
    other, a damaged file, and one that holds code.
    """
    hints = hints or Hints()
    _check(hints)
    if family is not None:
        lookup(room.IMPORTERS, "family", family)
    runs = [Path(path) for path in paths if (Path(path) / "tokenizer.json").is_file()]
    checkpoints = [read_checkpoint(path) for path in paths if Path(path) not in runs]
    parts, words = _recognised(checkpoints, family)
    if ("tokenizer" in parts and runs) or len(runs) > 1:
        raise UserError("two tokenizers were given", "one was expected")
    return _built(checkpoints, parts, words, hints, runs)


def _built(checkpoints, parts: dict[str, Part], words: list[str], hints: Hints, runs: list[Path]) -> Imported:
    """The networks of the parts, the tokenizer first: the prior is over its codes."""
    files = [widened(checkpoint.weights) for checkpoint in checkpoints]
    hints = _with_settings(hints, checkpoints)
    if "prior" in parts:
        family = room.IMPORTERS[parts["prior"].family]
        hints = dataclasses.replace(hints, codebooks=family.codebooks(parts["prior"].weights(files)[0]))
    described = tuple(File.of(checkpoint) for checkpoint in checkpoints)
    if runs:
        tokenizer, size = load_tokenizer(runs[0])
    elif "tokenizer" in parts:
        converted = parts["tokenizer"].convert(files, hints, None)
        tokenizer = filled(converted.config, converted.weights)
        size = _size(hints, parts, files, tokenizer)
    else:
        raise UserError(
            "a prior without its tokenizer was given",
            "the file of the tokenizer too, or the folder of a run that has it, was expected",
        )
    tokenizer.architecture.check(tokenizer.config, (size, size))
    prior, classes, codes = None, 0, None
    if "prior" in parts:
        codes = _codes(tokenizer, size)
        prior, classes = _prior(parts["prior"].convert(files, hints, codes), tokenizer, size)
    return Imported(
        tokenizer,
        size,
        prior,
        classes=tuple(map(str, range(classes))),
        origin=Origin(described, parts, hints, codes),
        files=tuple(checkpoint.weights for checkpoint in checkpoints),
        words=tuple(words),
    )


def _with_settings(hints: Hints, checkpoints: Sequence[Checkpoint]) -> Hints:
    """The hints, with what the config.json beside the files say, and β of the trainings' settings in them."""
    settings: dict[str, Any] = {}
    for checkpoint in checkpoints:
        settings |= {name: checkpoint.arguments[name] for name in BETAS if name in checkpoint.arguments}
        settings |= checkpoint.settings
    hints = dataclasses.replace(hints, settings=settings)
    return dataclasses.replace(hints, groups=hints.groups or hints.number("norm_num_groups"))


def _codes(tokenizer: Tokenizer, size: int) -> Codes:
    """The codes that a prior over a tokenizer has.

    Errors: `UserError` for a tokenizer without a codebook.
    """
    grid, sizes = grid_of(tokenizer, size), tokenizer.quantizer.sizes
    if not sizes:
        raise UserError(
            "a prior over a tokenizer without a codebook was given", "discrete codes were expected"
        )
    return Codes(sizes[0], grid.shape[-1 if grid.flat else -2 :], len(sizes))


def _prior(converted: Converted[PriorConfig], tokenizer: Tokenizer, size: int) -> tuple[Prior, int]:
    """A prior with exactly these weights, and its number of labels."""
    with torch.random.fork_rng():
        prior, _ = build_prior(
            converted.config, tokenizer, size, converted.classes, _captions(converted.config)
        )
    fill(prior, {**_quantizer_of(prior), **_without_unknown(converted.weights)})
    return prior, converted.classes


def _captions(config: PriorConfig) -> Vocabulary | None:
    """The captions of a prior that has a text encoder; None for one without."""
    if config.text_form != "tokens":
        return None
    return vocabulary_of(config.text, config.text_length, config.text_path, ())


def _quantizer_of(prior: Prior) -> Weights:
    """The weights of the quantizer that some priors keep a copy of."""
    return {name: value for name, value in prior.state_dict().items() if name.startswith("quantizer.")}


def filled(config: TokenizerConfig, weights: Weights) -> Tokenizer:
    """The tokenizer of a configuration with exactly these weights, in evaluation mode.

    What the quantizer counts while it is trained may be absent.

    Errors: `UserError` for a weight that is missing, unknown or of another shape.
    """
    with torch.random.fork_rng():
        tokenizer = Tokenizer(config)
    fill(tokenizer, weights, {name for name, _ in tokenizer.quantizer.named_buffers(prefix="quantizer")})
    return tokenizer


def _without_unknown(weights: Weights) -> Weights:
    """Rows of NaN, which a family has not, as the mean of the others: the null label of a family without
    one."""
    found = {}
    for name, value in weights.items():
        if value.is_floating_point() and value.isnan().any():
            value = torch.where(value.isnan(), value.nanmean(0, keepdim=True).nan_to_num(), value)
        found[name] = value
    return found


def _recognised(checkpoints: Sequence[Checkpoint], asked: str | None) -> tuple[dict[str, Part], list[str]]:
    """The network of each stage, and a line about each file.

    Errors: `UserError` for a file of no family or of another than asked for, and for two networks of a stage.
    """
    found: dict[str, tuple[list[int], list[str]]] = {}
    words = []
    for number, checkpoint in enumerate(checkpoints):
        names = checkpoint.weights.keys()
        own = {name: family.prefix(names) for name, family in room.IMPORTERS.items()}
        own = {name: prefix for name, prefix in own.items() if prefix is not None}
        own = _asked(own, asked) if asked is not None else _first_of_each(own)
        for name in own:
            _refuse_other_arithmetic(room.IMPORTERS[name], checkpoint.settings)
        if not own:
            raise UserError(
                f"{checkpoint.path} holds {len(names)} weights of no known network, such as "
                f"{', '.join(sorted(names)[:3])}",
                f"a checkpoint of {', '.join(room.IMPORTERS)} was expected",
                "see `caselli list importer`",
            )
        for name, prefix in own.items():
            if len(found.get(name, ([],))[0]) == room.IMPORTERS[name].files:
                raise UserError(f"2 files of {name} were given", "one was expected by this family")
            files, prefixes = found.setdefault(name, ([], []))
            files.append(number)
            prefixes.append(prefix)
        words.append(_words(checkpoint, own))
    parts: dict[str, Part] = {}
    for name, (files, prefixes) in found.items():
        stage = room.IMPORTERS[name].stage
        if stage in parts:
            raise UserError(
                f"{parts[stage].family} and {name} were given", f"one {stage} was expected", "leave one out"
            )
        parts[stage] = Part(name, tuple(files), tuple(prefixes))
    return parts, words


def _asked(own: dict[str, str], asked: str) -> dict[str, str]:
    """The family asked for alone.

    Errors: `UserError` for weights of another one.
    """
    others = [name for name in own if room.IMPORTERS[name].stage == room.IMPORTERS[asked].stage]
    if others and asked not in own and not _shares_names(others[0], asked):
        raise UserError(
            f"weights of {others[0]} were given as {asked}",
            f"a checkpoint of {asked} was expected",
            f"try --from {others[0]}",
        )
    kept = {name: prefix for name, prefix in own.items() if name not in others}
    prefix = own.get(asked, own[others[0]] if others else "")
    return kept | {asked: prefix}


def _first_of_each(own: dict[str, str]) -> dict[str, str]:
    """The families without those whose files have the names of an earlier one, which must be asked for."""
    names = list(own)
    earlier = {name: names[: names.index(name)] for name in names}
    return {name: own[name] for name in names if not any(_shares_names(e, name) for e in earlier[name])}


def _shares_names(one: str, other: str) -> bool:
    """True for two families whose files have the same names."""
    return room.IMPORTERS[one].signs == room.IMPORTERS[other].signs


def _words(checkpoint: Checkpoint, own: dict[str, str]) -> str:
    """Contents of a file, in a line."""
    names = checkpoint.weights.keys()
    whats = [f"{room.IMPORTERS[name].stage} of {name}" for name in own]
    prefixes = [f"names behind {prefix!r}" for prefix in own.values() if prefix]
    beside = sum(not name.startswith(tuple(own.values())) for name in names)
    others = [f"{beside} weights beside them"] if beside else []
    return f"{checkpoint.path}: {', '.join([*whats, *prefixes, *others, *checkpoint.said])}"


def _size(hints: Hints, parts: dict[str, Part], files: Sequence[Weights], tokenizer: Tokenizer) -> int:
    """Side of the pictures: as asked for, as in config.json, as the prior's positions tell, or 256."""
    size = hints.size or hints.number("sample_size")
    if size is None and tokenizer.config.size:
        return tokenizer.config.size
    if size is None and "prior" in parts:
        part = parts["prior"]
        positions = room.IMPORTERS[part.family].positions(part.weights(files)[0])
        side = math.isqrt(positions or 0)
        if side and side * side == positions:
            size = side * tokenizer.config.factor
    return size or SIZE


def _check(hints: Hints) -> None:
    for name in ("size", "groups", "heads", "classes"):
        value = getattr(hints, name)
        if value is not None and value < 1:
            raise UserError(f"{name} {value} was given", "at least 1 was expected")


def _refuse_other_arithmetic(family: type[Family], settings: dict[str, Any]) -> None:
    """Raises a `UserError` for a setting of a config.json that means another network than ours."""
    for name, value in at_any_depth(settings):
        expected = family.arithmetic.get(name, (value,))
        if value not in expected:
            raise UserError(
                f"config.json has {name} {value!r}",
                f"{' or '.join(map(repr, expected))} was expected: other networks would give other codes",
            )
