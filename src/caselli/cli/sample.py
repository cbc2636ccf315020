"""`caselli sample RUN -n 16 -o FILE.png`."""

from __future__ import annotations

import sys
from typing import Any

from caselli.cli import family
from caselli.cli.parser import add_out, add_run, free, is_picture, parser
from caselli.cli.sampling import add_engine, add_sampling, changed, sampling


def run(arguments: list[str]) -> None:
    """Parses, samples, writes a grid or a folder of pictures; under torchrun every rank draws its share."""
    options = parser("sample", "Makes new pictures.")
    add_run(options)
    options.add_argument("-n", "--count", type=int, default=16, help="how many (16)")
    options.add_argument("--label", help="a class; several with commas between, taken in turn; none: any")
    options.add_argument("--seed", type=int, default=0, help="picture i is drawn with seed + i (0)")
    add_sampling(options)
    add_engine(options)
    options.add_argument("--batch", type=int, default=64, help="pictures at a time (64)")
    add_out(options, "FILE.png for a grid, or a folder for a file each")
    given = options.parse_args(arguments)
    drawn = sampling(given)
    if family.is_family(given.run):
        family.sample(given, drawn)
        return

    from caselli.engine import ranks

    ranks.start()
    try:
        _sample(given, drawn)
    finally:
        ranks.stop()


def _sample(given: Any, drawn: Any) -> None:
    from caselli.cli.sampling import engine_for, say_pace
    from caselli.engine import ranks
    from caselli.errors import UserError
    from caselli.model import load

    out = free(given.out, given.overwrite)
    ranks.wait()  # all have looked before the first rank writes
    model = load(given.run)
    if given.count < 1:
        raise UserError(f"{given.count} pictures were asked for", "at least 1 was expected")
    labels = labels_in_turn(given.label, given.count, model.classes)
    engine = engine_for(model, given.precision)
    pictures = _all_ranks(model, given, labels, drawn, engine)
    if ranks.is_first():
        text = {"run": str(given.run), **{name: str(value) for name, value in changed(drawn).items()}}
        write(pictures, out, labels, given.seed, text)
        print(f"{given.count} pictures in {out}", file=sys.stderr)
        say_pace(engine)


def _all_ranks(model: Any, given: Any, labels: list[str] | None, drawn: Any, engine: Any) -> Any:
    """Each rank draws neighbouring pictures, equal in number but for the last ones; all get all."""
    import torch

    from caselli.engine import ranks

    each = -(-given.count // ranks.count())
    first = min(ranks.rank() * each, given.count)
    count = min(each, given.count - first)
    pictures = torch.zeros(each, model.tokenizer.config.channels, model.size, model.size)
    if count:
        with _bar(count * model.grid.length) as bar:
            pictures[:count] = model.sample(
                count,
                label=None if labels is None else labels[first : first + count],
                seed=given.seed + first,
                options=drawn,
                batch=given.batch,
                progress=bar.update,
                engine=engine,
            )
    return ranks.gather(pictures.to(model.device)).cpu()[: given.count]


def write(pictures: Any, out: Any, labels: list[str] | None, seed: int, text: dict[str, str]) -> None:
    """A grid where `out` is a picture, else a folder with a file for each."""
    from caselli.report import grid, save_png

    if is_picture(out):
        save_png(grid(pictures, labels=labels), out, {**text, "seed": str(seed)})
        return
    for number, picture in enumerate(pictures):
        about = {**text, "seed": str(seed + number), "label": labels[number] if labels else ""}
        save_png(grid(picture[None], scale=1, gap=0), out / f"{number:05}.png", about)


def labels_in_turn(label: str | None, count: int, classes: tuple[str, ...]) -> list[str] | None:
    """One label for each picture: a class, or several with commas between, taken in turn."""
    if label is None:
        return None
    asked = [label] if label in classes else label.split(",")
    return [asked[i % len(asked)] for i in range(count)]


def _bar(tokens: int) -> Any:
    from tqdm import tqdm

    from caselli.engine import ranks

    hidden = not (ranks.is_first() and sys.stderr.isatty())
    return tqdm(total=tokens, unit="token", unit_scale=True, disable=hidden)
