"""`caselli sample RUN -n 16 -o FILE.png`."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

from caselli.cli import family
from caselli.cli.parser import add_out, add_run, free, is_picture, parser
from caselli.cli.sampling import add_engine, add_sampling, add_text, sampling
from caselli.cli.size import add_size, bar, refuse_size, sample_sized


def run(arguments: list[str]) -> None:
    """Parses, samples, writes a grid or a folder of pictures; under torchrun every rank draws its share."""
    options = parser("sample", "Makes new pictures.")
    add_run(options)
    options.add_argument("-n", "--count", type=int, default=16, help="how many (16)")
    options.add_argument("--label", help="a class; several with commas between, taken in turn; none: any")
    add_text(options)
    options.add_argument(
        "--picture", metavar="FILE", help="another picture, for a run whose prior is told of one"
    )
    options.add_argument("--seed", type=int, default=0, help="picture i is drawn with seed + i (0)")
    add_size(options)
    add_sampling(options)
    add_engine(options)
    options.add_argument("--batch", type=int, default=64, help="pictures at a time (64)")
    add_out(options, "FILE.png for a grid, or a folder for a file each")
    given = options.parse_args(arguments)
    drawn = sampling(given)
    if family.is_family(given.run):
        refuse_size(given)
        family.sample(given, drawn)
        return

    from caselli import ranks

    ranks.start()
    try:
        _sample(given, drawn)
    finally:
        ranks.stop()


def _sample(given: Any, drawn: Any) -> None:
    from caselli import ranks
    from caselli.cli.sampling import engine_for, say_pace
    from caselli.errors import UserError
    from caselli.model import load

    out = free(given.out, given.overwrite)
    ranks.wait()  # all have looked before the first rank writes
    model = load(given.run)
    if given.count < 1:
        raise UserError(f"{given.count} pictures were asked for", "at least 1 was expected")
    asked = Asked.of(given, model)
    engine = engine_for(model, given.precision)
    text = {"run": str(given.run), **drawn.described()}
    if given.size is not None:
        told = model.conditions(given.count, asked.labels, asked.captions, asked.picture)
        sample_sized(model, given, told, drawn, engine, out, lambda i: about(text, asked, given.seed, i))
    else:
        pictures = _all_ranks(model, given, asked, drawn, engine)
        if ranks.is_first():
            write(pictures, out, asked, given.seed, text)
    if ranks.is_first():
        print(f"{given.count} pictures in {out}", file=sys.stderr)
        say_pace(engine)


@dataclasses.dataclass(frozen=True)
class Asked:
    """What each picture is to be."""

    labels: list[str] | None = None
    captions: list[str] | None = None
    picture: Any = None

    @classmethod
    def of(cls, given: Any, model: Any) -> Asked:
        """From the command line; what the model was not trained with is a `UserError`."""
        labels = labels_in_turn(given.label, given.count, model.classes)
        captions, other = in_turn(given.text, given.count), None
        if given.picture is not None:
            from caselli.cli.pictures import read_pictures

            other = read_pictures(model, [given.picture], 1, model.condition_size or model.size)
            other = other.expand(given.count, -1, -1, -1)
        model.conditions(given.count, labels, captions, other)
        return cls(labels, captions, other)

    def part(self, first: int, count: int) -> dict[str, Any]:
        """The arguments of `Model.sample` for neighbouring pictures."""
        own = {"label": self.labels, "text": self.captions, "picture": self.picture}
        return {name: None if one is None else one[first : first + count] for name, one in own.items()}


def _all_ranks(model: Any, given: Any, asked: Asked, drawn: Any, engine: Any) -> Any:
    """Each rank draws neighbouring pictures, equal in number but for the last ones; all get all."""
    import torch

    from caselli import ranks

    each = -(-given.count // ranks.count())
    first = min(ranks.rank() * each, given.count)
    count = min(each, given.count - first)
    pictures = torch.zeros(each, model.tokenizer.config.channels, model.size, model.size)
    if count:
        with bar(count * model.grid.length) as shown:
            pictures[:count] = model.sample(
                count,
                **asked.part(first, count),
                seed=given.seed + first,
                options=drawn,
                batch=given.batch,
                progress=shown.update,
                engine=engine,
            )
    return ranks.gather(pictures.to(model.device)).cpu()[: given.count]


def write(pictures: Any, out: Any, asked: Asked, seed: int, text: dict[str, str]) -> None:
    """A grid where `out` is a picture, else a folder with a file for each."""
    from caselli.report import grid, save_png

    if is_picture(out):
        if asked.captions is not None:
            text = {**text, "caption": "; ".join(dict.fromkeys(asked.captions))}
        save_png(grid(pictures, labels=asked.captions or asked.labels), out, {**text, "seed": str(seed)})
        return
    for number, picture in enumerate(pictures):
        file = out / f"{number:05}.png"
        save_png(grid(picture[None], scale=1, gap=0), file, about(text, asked, seed, number))


def about(text: dict[str, str], asked: Asked, seed: int, number: int) -> dict[str, str]:
    """What is written into one picture's file."""
    own = {"seed": str(seed + number), "label": asked.labels[number] if asked.labels else ""}
    if asked.captions is not None:
        own["caption"] = asked.captions[number]
    return {**text, **own}


def in_turn(captions: list[str] | None, count: int) -> list[str] | None:
    """One caption for each picture, of several taken in turn.

    Example:
        >>> in_turn(["a cat", "a dog"], 3)
        ['a cat', 'a dog', 'a cat']
    """
    return None if captions is None else [captions[i % len(captions)] for i in range(count)]


def labels_in_turn(label: str | None, count: int, classes: tuple[str, ...]) -> list[str] | None:
    """One label for each picture: a class, or several with commas between, taken in turn."""
    if label is None:
        return None
    asked = [label] if label in classes else label.split(",")
    return [asked[i % len(asked)] for i in range(count)]
