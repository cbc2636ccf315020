"""`caselli compare priors RUN... -o FILE.png`."""

from __future__ import annotations

from typing import Any

from caselli import markdown
from caselli.cli.parser import add_picture_out, free_picture, parser

HEAD = ("prior", "rounds", "bits a code", "bits a picture", "pictures a second", "read as asked")
SHOWN = 12
"""Pictures of each run."""


def run(arguments: list[str]) -> None:
    """Parses, samples every run with the same labels and seeds, writes the picture and the table."""
    options = parser(
        "compare priors",
        "Samples of several runs side by side, a row for each, and a table of what their priors need and how "
        "fast they draw: FILE.png and FILE.md.",
    )
    options.add_argument("runs", metavar="RUN", nargs="+", help="run folders of one set of pictures")
    options.add_argument("--seed", type=int, default=0, help="picture i is drawn with seed + i (0)")
    add_picture_out(options, "the samples")
    given = options.parse_args(arguments)
    out = free_picture(given.out, given.overwrite)

    from caselli.files import write_text
    from caselli.model import load
    from caselli.report import save_png
    from caselli.report.grid import rows

    shown, lines = {}, []
    for path in given.runs:
        model = load(path)
        pictures, engine = _drawn(model, given.seed)
        name = _name(model.prior, shown)
        shown[name] = pictures[:SHOWN]
        lines.append((name, *_figures(path, model, engine)))
    text = markdown.table(HEAD, lines)
    print(text)
    write_text(out.with_suffix(".md"), text + "\n")
    save_png(rows(shown), out)


def _name(prior: Any, taken: dict[str, Any]) -> str:
    name = prior.kind.replace("_", " ")
    return name if name not in taken else f"{name} {len(taken) + 1}"


def _drawn(model: Any, seed: int) -> tuple[Any, Any]:
    """A batch of 64 in the labels' order, spread over all of them, and the engine that drew it."""
    import torch

    from caselli.sampling import Timed, best_engine

    engine = Timed(best_engine(model.require_prior())[0])
    labels = None
    if model.classes:
        labels = torch.linspace(0, len(model.classes) - 1, SHOWN).round().long().repeat(6)[:64].tolist()
    model.sample(64, labels, seed, engine=engine)  # the first batch also makes the engine ready
    engine = Timed(engine.engine)
    return model.sample(64, labels, seed, engine=engine), engine


def _figures(path: str, model: Any, engine: Any) -> tuple[str, ...]:
    from caselli.run import RunFolder
    from caselli.sampling import AS_LEARNED

    results, prior = RunFolder(path).results(), model.prior
    bits = results["evaluation"]["prior_bits_per_picture"]
    most = "" if prior.exact else "≤ "
    read = results.get("samples", {}).get("read_as_asked")
    return (
        f"{prior.rounds(AS_LEARNED)}",
        f"{most}{bits / model.grid.length:.2f}",
        f"{most}{bits:.1f}",
        f"{64 / engine.seconds:,.0f}",
        "" if read is None else f"{read:.1%}",
    )
