"""`caselli sample RUN -n 16 -o FILE.png`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from caselli.cli.drawing import bar, canvas_for, engine_for, in_turn, say_made
from caselli.cli.output import PICTURES, expect_count, free, is_picture
from caselli.errors import UserError
from caselli.sampling import AS_LEARNED, Sampling


def command(
    run: str,
    *,
    count: int = 16,
    label: str | None = None,
    text: list[str] = (),
    picture: str | None = None,
    seed: int = 0,
    size: str | None = None,
    stride: int | None = None,
    sampling: Sampling = AS_LEARNED,
    precision: str | None = None,
    draft: str | None = None,
    batch: int = 64,
    out: str,
    overwrite: bool = False,
) -> None:
    """Makes new pictures; under torchrun every rank draws its share.

    Arguments:
        count: number of pictures.
        label: a class; several with commas between are taken in turn; none for any.
        seed: picture i is drawn with seed + i.
        batch: pictures drawn at a time.
        draft: a run with a smaller prior over the same tokenizer, which proposes codes that this one keeps
            or replaces; for few pictures at a time.
        picture: another picture, for a run whose prior is conditioned on one.
        out: FILE.png (.jpg, .webp, .tif) for a grid, or a folder for a file each.
    """
    from caselli import ranks
    from caselli.engine import on_device
    from caselli.model import load as load_two_stages
    from caselli.run import load

    ranks.start()
    try:
        path = free(out, overwrite, PICTURES, folder=True)
        ranks.wait()  # all have looked before the first rank writes
        expect_count(count, "pictures")
        # pictures of another size need codes with places
        model = on_device((load if size is None and draft is None else load_two_stages)(run))
        wanted = Wanted.of(model, count, label, text, picture, seed)
        wanted = dataclasses.replace(wanted, about={"run": run, **sampling.described()})
        if draft is not None and model.guide is not None and sampling.guidance != 1:
            raise UserError(
                f"--draft was given, and {run} draws with a guide, which proposals know nothing of",
                "the prior alone was expected",
                "add --guidance 1, or leave --draft out",
            )
        engine = engine_for(model, precision, draft)
        if size is not None:
            _sample_sized(model, wanted, size, stride, sampling, engine, path)
        else:
            pictures = _sample(model, wanted, batch, sampling, engine)
            if ranks.is_first():
                write(pictures, path, wanted)
        if ranks.is_first():
            say_made(f"{count} pictures in {path}", engine)
    finally:
        ranks.stop()


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The label, the caption or the other picture that each new picture is drawn by, and its seed."""

    count: int
    labels: list[str] | None = None
    captions: list[str] | None = None
    picture: Any = None
    seed: int = 0
    about: dict[str, str] = dataclasses.field(default_factory=dict)
    """Text written into every file."""

    @classmethod
    def of(
        cls, model: Any, count: int, label: str | None, text: list[str], picture: str | None, seed: int
    ) -> Wanted:
        """From the command line."""
        labels = None
        if label is not None:
            named = [label] if label in model.classes else label.split(",")
            labels = in_turn(named, count)
        other = None
        if picture is not None:
            from caselli.cli.pictures import read_pictures

            other = read_pictures(model, [picture], 1, model.condition_size or model.size)
            other = other.expand(count, -1, -1, -1)
        return cls(count, labels, in_turn(text, count), other, seed)

    def part(self, first: int, count: int) -> dict[str, Any]:
        """The arguments of `Trained.sample` for neighbouring pictures."""
        own = {"label": self.labels, "text": self.captions, "picture": self.picture}
        return {name: None if one is None else one[first : first + count] for name, one in own.items()}

    def of_file(self, number: int) -> dict[str, str]:
        """Text written into the file of one picture."""
        own = {"seed": str(self.seed + number), "label": self.labels[number] if self.labels else ""}
        if self.captions is not None:
            own["caption"] = self.captions[number]
        return {**self.about, **own}


def write(pictures: Any, out: Path, wanted: Wanted) -> None:
    """A grid where `out` is a picture, else a folder with a file for each."""
    from caselli.files import atomic_folder
    from caselli.report import grid, save_picture, save_png

    if is_picture(out):
        text = {**wanted.about, "seed": str(wanted.seed)}
        if wanted.captions is not None:
            text["caption"] = "; ".join(dict.fromkeys(wanted.captions))
        save_picture(grid(pictures, labels=wanted.captions or wanted.labels), out, text)
        return
    with atomic_folder(out) as scratch:
        for number, picture in enumerate(pictures):
            image = grid(picture[None], scale=1, gap=0)
            save_png(image, scratch / f"{number:05}.png", wanted.of_file(number))


def _sample(model: Any, wanted: Wanted, batch: int, options: Sampling, engine: Any) -> Any:
    """All pictures on every rank; each rank draws a contiguous share, the last one a smaller one."""
    import torch

    from caselli import ranks

    each = -(-wanted.count // ranks.count())
    first = min(ranks.rank() * each, wanted.count)
    count = min(each, wanted.count - first)
    pictures = torch.zeros(each, model.channels, model.size, model.size)
    if count:
        with bar(count * model.codes_per_picture) as shown:
            pictures[:count] = model.sample(
                count,
                **wanted.part(first, count),
                seed=wanted.seed + first,
                options=options,
                batch=batch,
                progress=shown.update,
                engine=engine,
            )
    return ranks.gather(pictures.to(model.device)).cpu()[: wanted.count]


def _sample_sized(
    model: Any,
    wanted: Wanted,
    size: str,
    stride: int | None,
    options: Sampling,
    engine: Any,
    out: Path,
) -> None:
    """Codes by all ranks, pictures by the first, strip by strip."""
    from caselli import ranks
    from caselli.report import save_canvas

    conditions = model.conditions(wanted.count, wanted.labels, wanted.captions, wanted.picture)
    with bar(0) as shown:
        canvas = canvas_for(model, size, stride, options, engine, shown.update)
        shown.total = len(ranks.share(wanted.count)) * canvas.length
        codes = canvas.codes_of_ranks(wanted.count, conditions, wanted.seed)
    if ranks.is_first():
        save_canvas(canvas, codes, out, wanted.of_file)
