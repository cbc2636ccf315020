"""`caselli compare slim SOURCE RUN SMALL ... -o FILE.png`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from caselli import markdown
from caselli.cli.parser import add_picture_out, free_picture, parser

HEAD = (
    *("run", "what was done", "MB", "of the first", "bits per dimension, codes", "change"),
    *("PSNR, dB", "codes per second, batch 1", "times"),
)


def run(arguments: list[str]) -> None:
    """Parses, measures in turn, prints the table, writes it and the picture."""
    options = parser(
        "compare slim",
        "A run and smaller ones made of it: FILE.png shows samples with the same noise row by row, FILE.md "
        "has the figures, each against the first run's.",
    )
    options.add_argument("source", metavar="SOURCE", help="pictures: a set, a folder, an archive")
    options.add_argument("runs", metavar="RUN", nargs="+", help="run folders, the whole one first")
    options.add_argument("--pictures", type=int, default=4096, help="held-out ones measured, at most (4096)")
    add_picture_out(options, "the picture")
    given = options.parse_args(arguments)
    out = free_picture(given.out, given.overwrite)

    import torch

    from caselli.cli.pictures import source_for
    from caselli.files import write_text
    from caselli.model import load
    from caselli.report import rows, save_png
    from caselli.run.slim_measure import measure, side_by_side

    folders = {Path(name).resolve().name: Path(name) for name in given.runs}
    models = {name: load(folder) for name, folder in folders.items()}
    for model in models.values():
        model.require_prior()
    held_out = source_for(next(iter(models.values())), given.source, "held_out")
    held_out = held_out.subset(torch.arange(min(max(1, given.pictures), len(held_out))))
    text = _table(measure(models, folders, held_out), folders)
    print(text)
    write_text(out.with_suffix(".md"), text + "\n")
    save_png(rows(side_by_side(models, held_out)), out)


def _table(figures: dict[str, dict[str, Any]], folders: dict[str, Path]) -> str:
    from caselli.run import RunFolder

    first = next(iter(figures.values()))
    lines = []
    for name, found in figures.items():
        bits, pace = found["prior_bits_per_dimension"], found["tokens_per_second"]
        lines.append(
            (
                name,
                RunFolder(folders[name]).results().get("slim", {}).get("method", "trained"),
                f"{found['bytes'] / 1e6:.1f}",
                f"{found['bytes'] / first['bytes']:.2f}",
                f"{bits:.4f}",
                f"{bits / first['prior_bits_per_dimension'] - 1:+.1%}",
                f"{found['psnr']:.2f}",
                f"{pace:,.0f}",
                f"{pace / first['tokens_per_second']:.2f}",
            )
        )
    return markdown.table(HEAD, lines)
