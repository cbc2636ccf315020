"""`caselli compare codecs`: runs beside JPEG, WebP and AVIF, and without loss beside PNG."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import torch

from caselli.codec import Codec, load_residual
from caselli.compare import codec_points
from caselli.compare.base import Comparison, Table, free
from caselli.compare.codec_points import ALONE, EXACT, PNG, TOGETHER, WITHOUT, Originals, Row
from caselli.compare.pictures import pictures_for, runs_by_name, some
from caselli.data import spread, to_float
from caselli.errors import UserError
from caselli.evaluate import name_of, perceptual_distance
from caselli.figures import cell
from caselli.model import load
from caselli.report import dress
from caselli.report import rows as rows_of_pictures

MEASURES = {
    "psnr": ("PSNR (dB)", "more is better"),
    "ms_ssim": ("MS-SSIM", "more is better"),
    "distance": ("perceptual distance", "less is better"),
}
INKS = {"JPEG": "#b08030", "WebP": "#3f7f5f", "AVIF": "#8060a0"}
OURS = ("#2f6f9f", "#c0504d", "#202020", "#50a0c0")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Pictures, and the runs that are tried as codecs."""

    source: str
    """Pictures: a set, a folder, an archive."""
    runs: tuple[str, ...] = free()
    """Run folders of one size, with priors."""
    split: str = "held_out"
    """train, held_out or all."""
    most: int = 200
    """Pictures taken, evenly spread."""
    shown: int = 10
    """Pictures in a row."""
    lpips: str | None = None
    """VGG-16's weights in a local file, for LPIPS."""


class Codecs(Comparison):
    """Runs as codecs beside JPEG, WebP and AVIF, bytes against distortion, and without loss beside PNG."""

    Settings, Row = Settings, Row

    def subjects(self) -> dict[str, Callable[[], Row]]:
        models = [codec.model for codec in self.codecs.values()]
        if len({(model.size, model.tokenizer.config.channels) for model in models}) > 1:
            raise UserError(
                "runs of different sizes were given", "runs of one size and kind of picture were expected"
            )
        return self._lossy(self.codecs) | self._lossless(self.codecs)

    @cached_property
    def codecs(self) -> dict[str, Codec]:
        """The runs by name."""
        return {name: _codec(run) for name, run in runs_by_name(self.settings.runs).items()}

    @cached_property
    def originals(self) -> Originals:
        """Pictures that every codec gets."""
        asked, first = self.settings, next(iter(self.codecs.values())).model
        pictures = some(pictures_for(first, asked.source, asked.split), asked.most)
        shown = spread(len(pictures), asked.shown).tolist()
        every = pictures.read(torch.arange(len(pictures)))
        return Originals(every, perceptual_distance(asked.lpips), shown)

    def _lossy(self, codecs: dict[str, Codec]) -> dict[str, Callable[[], Row]]:
        found: dict[str, Callable[[], Row]] = {}
        for name, codec in codecs.items():
            both = cache(partial(codec_points.run_rows, self.originals, name, codec))
            found |= {f"{name}, {s}": lambda both=both, s=s: both()[s] for s in (ALONE, TOGETHER)}
        for name in codec_points.file_codecs():
            for halves in codec_points.HALVES:
                for quality in codec_points.QUALITIES[name]:
                    label = f"{name}, {codec_points.setting_of(quality, halves)}"
                    found[label] = partial(codec_points.file_row, self.originals, name, quality, halves)
        return found

    def _lossless(self, codecs: dict[str, Codec]) -> dict[str, Callable[[], Row]]:
        names = codec_points.LOSSLESS
        found = {name: partial(codec_points.lossless_row, self.originals, name) for name in names}
        for name, codec in codecs.items():
            if codec.coder.residual is not None:
                both = cache(partial(codec_points.exact_rows, self.originals, name, codec))
                found |= {f"{name}, {s}": lambda both=both, s=s: both()[s] for s in (EXACT, WITHOUT)}
        return found

    def rows(self, subjects: Mapping[str, Callable[[], Row]], folder: Path) -> Iterator[Row]:
        for make in subjects.values():
            yield make()

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """Each run, and others at its bytes; then all without loss."""
        found, (ours, theirs, lossless) = [], _sorted(rows)
        for name, points in ours.items():
            table = super().tables([*points, *codec_points.at_least(theirs, points[0].bytes)])[0]
            words = f"{name}, and others at its bytes or the next that they reach:"
            found.append(dataclasses.replace(table, words=words))
        png = next((row.bytes for row in lossless if row.codec == PNG), None)
        lines = [
            (row.codec, cell(row.bytes, ".0f"), cell(png and row.bytes / png - 1, "+.1%")) for row in lossless
        ]
        return [*found, Table(("codec", "bytes", "against optimised PNG"), lines, "Without loss:")]

    def notes(self, rows: Sequence[Row]) -> str:
        runs = runs_by_name(self.settings.runs)
        sizes = ", ".join(f"{name} {_size(run) / 1e6:.1f} MB" for name, run in runs.items())
        return (
            f"{len(self.originals.pictures)} pictures, every byte of each file counted; perceptual distance: "
            f"{name_of(self.originals.distance)}. The models themselves, which sender and receiver both "
            f"need: {sizes}."
        )

    def plot(self, rows: Sequence[Row]) -> Any:
        from matplotlib.figure import Figure  # loads slowly

        drawing = Figure(figsize=(12, 4.2), layout="constrained", facecolor="white")
        ours, theirs, _ = _sorted(rows)
        for axes, (measure, (name, which)) in zip(drawing.subplots(1, 3), MEASURES.items(), strict=True):
            _curves(axes, theirs, measure)
            _runs(axes, ours, measure)
            axes.set_xscale("log")
            dress(axes, f"{name}: {which}", "bytes a picture")
        axes.legend(frameon=False, fontsize=8)
        words = f"rate against distortion, means over {len(self.originals.pictures)} pictures"
        drawing.suptitle(words, x=0.01, ha="left", fontsize=11)
        return drawing

    def sheet(self, rows: Sequence[Row]) -> Any:
        """Originals; each run; the others at its bytes."""
        ours, theirs, _ = _sorted(rows)
        named = {"original": self.originals.pictures[self.originals.shown]}
        for name, (alone, *_) in ours.items():
            named[f"{name}, {alone.bytes:.0f} B"] = alone.shown
            for row in codec_points.at_least(theirs, alone.bytes):
                named[f"{row.codec}, {row.bytes:.0f} B"] = row.shown
        return rows_of_pictures({name: to_float(pictures) for name, pictures in named.items()})


def _codec(run: Path) -> Codec:
    model = load(run)
    return Codec(model, load_residual(run, model.tokenizer.fingerprint()))


def _size(run: Path) -> int:
    """Bytes of a run's weights."""
    files = [run / f"{name}.safetensors" for name in ("tokenizer", "prior", "residual")]
    return sum(path.stat().st_size for path in files if path.exists())


def _sorted(rows: Sequence[Row]) -> tuple[dict[str, list[Row]], list[Row], list[Row]]:
    """Runs by name (a file each, then one archive), codecs of files, and what keeps every pixel."""
    lossy = [row for row in rows if row.psnr is not None]
    names = dict.fromkeys(row.codec for row in lossy if row.trained)
    ours = {name: [row for row in lossy if row.codec == name] for name in names}
    return ours, [row for row in lossy if not row.trained], [row for row in rows if row.psnr is None]


def _curves(axes: Any, rows: Sequence[Row], measure: str) -> None:
    better = (lambda a, b: a < b) if measure == "distance" else (lambda a, b: a > b)
    for codec in dict.fromkeys(row.codec for row in rows):
        points = codec_points.curve([row for row in rows if row.codec == codec], measure, better)
        values = [getattr(row, measure) for row in points]
        axes.plot([row.bytes for row in points], values, "o-", ms=3, color=INKS[codec], label=codec)


def _runs(axes: Any, runs: Mapping[str, Sequence[Row]], measure: str) -> None:
    for ink, (run, rows) in zip(OURS * len(runs), runs.items(), strict=False):
        axes.plot([row.bytes for row in rows], [getattr(row, measure) for row in rows], "-", color=ink)
        for row, face in zip(rows, (ink, "white"), strict=True):
            axes.plot(
                [row.bytes], [getattr(row, measure)], "s", mfc=face, color=ink, label=f"{run}, {row.setting}"
            )
