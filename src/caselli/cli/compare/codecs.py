"""`caselli compare codecs SOURCE RUN... -o FOLDER`."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

from caselli import markdown
from caselli.cli.parser import add_out, free, parser
from caselli.errors import UserError

MEASURES = {
    "psnr": ("PSNR (dB)", "more is better"),
    "ms_ssim": ("MS-SSIM", "more is better"),
    "distance": ("perceptual distance", "less is better"),
}
INKS = {"JPEG": "#b08030", "WebP": "#3f7f5f", "AVIF": "#8060a0"}
OURS = ("#2f6f9f", "#c0504d", "#202020", "#50a0c0")


def run(arguments: list[str]) -> None:
    """Parses, measures, prints the tables; writes them, the plot and the pictures."""
    options = parser(
        "compare codecs",
        "Runs as codecs beside JPEG, WebP and AVIF: bytes a picture against PSNR, MS-SSIM and perceptual "
        "distance, and without loss beside PNG: codecs.md, codecs.png and pictures.png.",
    )
    options.add_argument("source", metavar="SOURCE", help="pictures: a set, a folder, an archive")
    options.add_argument("runs", metavar="RUN", nargs="+", help="run folders of one size, with priors")
    options.add_argument("--split", default="held_out", help="train, held_out or all (held_out)")
    options.add_argument("--most", type=int, default=200, help="pictures taken, evenly spread (200)")
    options.add_argument("--shown", type=int, default=10, help="pictures in a row (10)")
    options.add_argument("--lpips", metavar="WEIGHTS", help="VGG-16's weights in a local file, for LPIPS")
    add_out(options, "the folder")
    given = options.parse_args(arguments)
    out = free(given.out, given.overwrite)
    names = [Path(name).resolve().name for name in given.runs]
    if len(set(names)) < len(names):
        raise UserError("two runs of one name were given", "names of their own were expected")

    from caselli.evaluate.codecs import file_codecs, file_points, lossless_sizes, run_points
    from caselli.evaluate.perceptual import name_of, perceptual_distance
    from caselli.files import atomic_write, write_text

    say = (lambda words: print(words, file=sys.stderr)) if sys.stderr.isatty() else (lambda words: None)
    codecs, originals = _opened(given, names)
    distance = perceptual_distance(given.lpips)
    ours = {name: run_points(name, codec, originals, distance) for name, codec in codecs.items()}
    theirs = [point for codec in file_codecs() for point in file_points(codec, originals, distance, say)]
    exact = {name: codec for name, codec in codecs.items() if codec.coder.residual is not None}
    lossless = lossless_sizes(exact, originals)
    text = _tables(ours, theirs, lossless, given.runs, len(originals), name_of(distance))
    print(text, end="")
    write_text(out / "codecs.md", text)
    with atomic_write(out / "codecs.png") as temporary:
        temporary.write_bytes(_plot(ours, theirs, len(originals)))
    _pictures(out / "pictures.png", originals, ours, theirs, given.shown)


def _opened(given: Any, names: list[str]) -> tuple[dict[str, Any], Any]:
    """The runs' codecs, and the pictures."""
    import torch

    from caselli.cli.pictures import source_for
    from caselli.codec import Codec, load_residual
    from caselli.model import load

    codecs = {}
    for name, folder in zip(names, given.runs, strict=True):
        model = load(folder)
        codecs[name] = Codec(model, load_residual(Path(folder), model.tokenizer.fingerprint()))
    models = [codec.model for codec in codecs.values()]
    if len({(model.size, model.tokenizer.config.channels) for model in models}) > 1:
        raise UserError(
            "runs of different sizes were given", "runs of one size and kind of picture were expected"
        )
    pictures = source_for(models[0], given.source, given.split)
    spread = torch.linspace(0, len(pictures) - 1, min(given.most, len(pictures))).round().long()
    return codecs, pictures.read(spread)


def _tables(ours: dict, theirs: list, lossless: list, runs: list[str], count: int, distance: str) -> str:
    from caselli.evaluate.codecs import at_least

    parts = [f"{count} pictures, every byte of each file counted; perceptual distance: {distance}."]
    for name, (alone, together) in ours.items():
        rows = [_row(point) for point in (alone, together, *at_least(theirs, alone.bytes))]
        parts.append(f"{name}, and others at its bytes or the next that they reach:")
        parts.append(markdown.table(("codec", "setting", "bytes", "PSNR", "MS-SSIM", "distance"), rows))
    best = min(point.bytes for point in lossless[1:2])
    rows = [(x.codec, f"{x.bytes:.0f}", f"{x.bytes / best - 1:+.1%}") for x in lossless]
    parts.append("Without loss:")
    parts.append(markdown.table(("codec", "bytes", "against optimised PNG"), rows))
    sizes = ", ".join(f"{Path(run).resolve().name} {_size(Path(run)) / 1e6:.1f} MB" for run in runs)
    parts.append(f"The models themselves, which sender and receiver both need: {sizes}.")
    return "\n\n".join(parts) + "\n"


def _size(run: Path) -> int:
    names = ("tokenizer", "prior", "residual")
    files = [run / f"{name}.safetensors" for name in names]
    return sum(path.stat().st_size for path in files if path.exists())


def _row(point: Any) -> tuple[str, ...]:
    numbers = (f"{point.bytes:.0f}", f"{point.psnr:.2f}", f"{point.ms_ssim:.3f}", f"{point.distance:.4f}")
    return point.codec, point.setting, *numbers


def _plot(ours: dict, theirs: list, count: int) -> bytes:
    from matplotlib.figure import Figure

    from caselli.evaluate.codecs import curve

    figure = Figure(figsize=(12, 4.2), layout="constrained", facecolor="white")
    for place, (measure, (name, which)) in enumerate(MEASURES.items(), 1):
        axes = figure.add_subplot(1, 3, place)
        better = (lambda a, b: a < b) if measure == "distance" else (lambda a, b: a > b)
        for codec in dict.fromkeys(point.codec for point in theirs):
            points = curve([p for p in theirs if p.codec == codec], measure, better)
            x, y = [p.bytes for p in points], [getattr(p, measure) for p in points]
            axes.plot(x, y, "o-", ms=3, color=INKS[codec], label=codec)
        for ink, (run, (alone, together)) in zip(OURS * len(ours), ours.items(), strict=False):
            value = getattr(alone, measure)
            axes.plot([together.bytes, alone.bytes], [value, value], "-", color=ink)
            axes.plot([together.bytes], [value], "s", mfc="white", color=ink, label=f"{run}, one archive")
            axes.plot([alone.bytes], [value], "s", color=ink, label=f"{run}, a file each")
        axes.set_xscale("log")
        axes.set_xlabel("bytes a picture")
        axes.set_title(f"{name}: {which}", loc="left", fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.suptitle(f"rate against distortion, means over {count} pictures", x=0.01, ha="left", fontsize=11)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def _pictures(path: Path, originals: Any, ours: dict, theirs: list, shown: int) -> None:
    """Originals; each run; the others at its bytes."""
    import torch

    from caselli.data import to_float
    from caselli.evaluate.codecs import at_least
    from caselli.report import save_png
    from caselli.report.grid import rows

    some = torch.linspace(0, len(originals) - 1, min(shown, len(originals))).round().long()
    named = {"original": to_float(originals[some])}
    for name, (alone, _) in ours.items():
        named[f"{name}, {alone.bytes:.0f} B"] = to_float(alone.pictures[some])
        for point in at_least(theirs, alone.bytes):
            named[f"{point.codec}, {point.bytes:.0f} B"] = to_float(point.pictures[some])
    save_png(rows(named), path)
