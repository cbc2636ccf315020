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
from caselli.compare.base import Comparison, RunSettings, Table, free, panels
from caselli.compare.codec_points import ALONE, EXACT, MEASURES, PNG, TOGETHER, WITHOUT, Originals, Row
from caselli.compare.pictures import pictures_for, runs_by_name, some
from caselli.data import spread, to_float
from caselli.errors import UserError
from caselli.evaluate import name_of, perceptual_distance
from caselli.figures import cell
from caselli.model import load
from caselli.report import dress
from caselli.report import rows as rows_of_pictures

INKS = {"JPEG": "#b08030", "WebP": "#3f7f5f", "AVIF": "#8060a0"}
OURS = ("#2f6f9f", "#c0504d", "#202020", "#50a0c0")
WEIGHTS = ("tokenizer", "prior", "residual")


@dataclasses.dataclass(frozen=True)
class Settings(RunSettings):
    """Pictures, and the runs that are tried as codecs."""

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
        given, found = self.originals, {}
        for name, codec in self.codecs.items():
            both = cache(partial(codec_points.run_rows, given, name, codec))
            found |= {f"{name}, {s}": lambda both=both, s=s: both()[s] for s in (ALONE, TOGETHER)}
        for label, setting in codec_points.file_settings().items():
            found[label] = partial(codec_points.file_row, given, *setting)
        found |= {name: partial(codec_points.lossless_row, given, name) for name in codec_points.LOSSLESS}
        for name, codec in self.codecs.items():
            if codec.coder.residual is not None:
                both = cache(partial(codec_points.exact_rows, given, name, codec))
                found |= {f"{name}, {s}": lambda both=both, s=s: both()[s] for s in (EXACT, WITHOUT)}
        return found

    @cached_property
    def codecs(self) -> dict[str, Codec]:
        """The runs by name."""
        models = {name: (run, load(run)) for name, run in runs_by_name(self.settings.runs).items()}
        return {
            name: Codec(model, load_residual(run, model.tokenizer.digest()))
            for name, (run, model) in models.items()
        }

    @cached_property
    def originals(self) -> Originals:
        """Pictures that every codec is given."""
        asked, first = self.settings, next(iter(self.codecs.values())).model
        pictures = some(pictures_for(first, asked.source, asked.split), asked.most)
        shown = spread(len(pictures), asked.shown).tolist()
        every = pictures.read(torch.arange(len(pictures)))
        return Originals(every, perceptual_distance(asked.lpips), shown)

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
        sizes = []
        for name, run in runs_by_name(self.settings.runs).items():
            files = [run / f"{part}.safetensors" for part in WEIGHTS]
            size = sum(path.stat().st_size for path in files if path.exists())
            sizes.append(f"{name} {size / 1e6:.1f} MB")
        return (
            f"{len(self.originals.pictures)} pictures, every byte of each file counted; perceptual distance: "
            f"{name_of(self.originals.distance)}. The models themselves, which sender and receiver both "
            f"need: {', '.join(sizes)}."
        )

    def plot(self, rows: Sequence[Row]) -> Any:
        drawing, (line,) = panels(12, 4.2, columns=3)
        ours, theirs, _ = _sorted(rows)
        for axes, (measure, (name, which, _)) in zip(line, MEASURES.items(), strict=True):
            for codec, every in codec_points.by_codec(theirs).items():
                curve = _points(codec_points.curve(every, measure), measure)
                axes.plot(*curve, "o-", ms=3, color=INKS[codec], label=codec)
            for ink, (run, both) in zip(OURS * len(ours), ours.items(), strict=False):
                axes.plot(*_points(both, measure), "-", color=ink)
                for row, face in zip(both, (ink, "white"), strict=True):
                    style = {"mfc": face, "color": ink, "label": f"{run}, {row.setting}"}
                    axes.plot(*_points([row], measure), "s", **style)
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


def _sorted(rows: Sequence[Row]) -> tuple[dict[str, list[Row]], list[Row], list[Row]]:
    """Runs by name (a file each, then one archive), file codecs, and rows without loss."""
    lossy = [row for row in rows if row.psnr is not None]
    ours = codec_points.by_codec([row for row in lossy if row.trained])
    return ours, [row for row in lossy if not row.trained], [row for row in rows if row.psnr is None]


def _points(rows: Sequence[Row], measure: str) -> tuple[list[float], list[float]]:
    return [row.bytes for row in rows], [getattr(row, measure) for row in rows]
