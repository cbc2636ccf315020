"""`caselli compare guidance RUN SOURCE -o FILE.png`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from caselli import markdown
from caselli.cli.parser import add_picture_out, add_run, free_picture, parser
from caselli.errors import UserError

HEAD = ("guidance", "read as asked", "spread within a label", "recall")


def run(arguments: list[str]) -> None:
    """Parses, samples at each strength, prints the table; writes it, the curve and the samples."""
    options = parser(
        "compare guidance",
        "Agreement with the label, as a classifier of real pictures reads it, against diversity: FILE.png is "
        "the curve, FILE-samples.png the same noise at each strength, FILE.md the table.",
    )
    add_run(options)
    options.add_argument("source", metavar="SOURCE", help="labelled pictures: what the run was trained on")
    options.add_argument("--strengths", default="1,1.25,1.5,2,3,4,6", help="with commas (1,1.25,1.5,2,3,4,6)")
    options.add_argument("--schedule", default="constant", help="constant, linear or cosine (constant)")
    options.add_argument("--each", type=int, default=16, help="samples a label (16)")
    options.add_argument("--reader-steps", type=int, default=150, help="training of the classifier (150)")
    add_picture_out(options, "the curve")
    given = options.parse_args(arguments)
    out, strengths = free_picture(given.out, given.overwrite), _numbers(given.strengths)

    from caselli.cli.pictures import source_for
    from caselli.evaluate.guidance import guidance_curve
    from caselli.evaluate.reader import train_reader
    from caselli.files import atomic_write, write_text
    from caselli.model import load

    model = load(given.run)
    train, held_out = (source_for(model, given.source, split) for split in ("train", "held_out"))
    reader = train_reader(train, steps=given.reader_steps, seed=1)
    found = guidance_curve(model, reader, held_out, strengths, given.each, given.schedule)
    text = _table(found)
    print(text)
    write_text(out.with_suffix(".md"), text + "\n")
    with atomic_write(out) as temporary:
        temporary.write_bytes(_curve(found))
    _samples(out.with_name(f"{out.stem}-samples.png"), model, strengths, given.schedule)


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise UserError(f"strengths {text!r} were given", "numbers with commas were expected") from None


def _table(found: list[Any]) -> str:
    rows = [
        (f"{g.strength:g}", f"{g.read_as_asked:.1%}", f"{g.spread:.3f}", f"{g.recall:.1%}") for g in found
    ]
    return markdown.table(HEAD, rows)


def _curve(found: list[Any]) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.plot([g.recall for g in found], [g.read_as_asked for g in found], "o-", color="#2f6f9f")
    for g in found:
        words = f"{g.strength:g}"
        axes.annotate(words, (g.recall, g.read_as_asked), xytext=(6, 5), textcoords="offset points")
    axes.set_xlabel("recall: share of real pictures among the samples' neighbours")
    axes.set_ylabel("read as asked")
    axes.set_title("guidance: agreement against diversity", loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(0.1)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _samples(path: Path, model: Any, strengths: list[float], schedule: str) -> None:
    import torch

    from caselli.report import save_png
    from caselli.report.grid import rows
    from caselli.sampling import Sampling

    labels = torch.linspace(0, len(model.classes) - 1, 12).round().long().tolist()
    drawn = {
        f"{s:g}": model.sample(12, labels, 0, Sampling(guidance=s, guidance_schedule=schedule))
        for s in strengths
    }
    save_png(rows(drawn), path)
