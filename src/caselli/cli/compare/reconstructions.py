"""`caselli compare reconstructions SOURCE RUN RUN ... -o FILE.png`."""

from __future__ import annotations

from pathlib import Path

from caselli import markdown
from caselli.cli.parser import add_picture_out, free_picture, parser

HEAD = ("run", "Fréchet distance", "kernel distance", "sharpness", "PSNR (dB)", "SSIM", "codes in use")


def run(arguments: list[str]) -> None:
    """Parses, measures, prints the table, writes it and the picture."""
    options = parser(
        "compare reconstructions",
        "What several runs' tokenizers make of the same pictures: FILE.png shows originals and "
        "reconstructions row by row, FILE.md has the figures.",
    )
    options.add_argument("source", metavar="SOURCE", help="pictures: a set, a folder, an archive")
    options.add_argument("runs", metavar="RUN", nargs="+", help="run folders")
    options.add_argument("--split", default="held_out", help="train, held_out or all (held_out)")
    options.add_argument("--shown", type=int, default=12, help="pictures in a row (12)")
    options.add_argument("--inception", metavar="FILE", help="Inception's weights; else VGG-16's, untrained")
    add_picture_out(options, "the picture")
    given = options.parse_args(arguments)
    out = free_picture(given.out, given.overwrite)

    from caselli.cli.pictures import source_for
    from caselli.evaluate.tokenizers import tokenizer_figures
    from caselli.features import VGG16, Inception
    from caselli.files import write_text
    from caselli.model import load

    models = {Path(name).resolve().name: load(name) for name in given.runs}
    first = next(iter(models.values()))
    pictures = source_for(first, given.source, given.split)
    network = Inception.load(given.inception) if given.inception else VGG16.untrained()
    reference = f"{pictures.name}, {given.split.replace('_', ' ')}"
    figures = {name: tokenizer_figures(m, pictures, network, reference) for name, m in models.items()}
    text = _table(figures)
    print(text)
    write_text(out.with_suffix(".md"), text + "\n")
    _draw(out, models, pictures, given.shown)


def _table(figures: dict) -> str:
    rows = []
    for name, f in figures.items():
        numbers = (f"{f.frechet:.3g}", f"{f.kernel:.3g}", f"{f.sharpness:.2f}", f"{f.psnr:.2f}")
        rows.append((name, *numbers, f"{f.ssim:.3f}", f"{f.codebook_use:.1%}"))
    f = next(iter(figures.values()))
    note = (
        f"Features: {f.features}. Reference: the {f.count} originals ({f.reference}); {f.bits:.0f} bits each."
    )
    return "\n".join([markdown.table(HEAD, rows), "", note])


def _draw(out: Path, models: dict, pictures, shown: int) -> None:
    import torch

    from caselli.data import to_float
    from caselli.report import save_png
    from caselli.report.grid import rows

    indices = torch.linspace(0, len(pictures) - 1, min(shown, len(pictures))).round().long()
    x = to_float(pictures.read(indices))
    decoded = {name: m.decode(m.encode(x.to(m.device))).cpu() for name, m in models.items()}
    save_png(rows({"original": x, **decoded}), out)
