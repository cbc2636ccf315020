"""`caselli complete RUN PICTURE --keep upper -o FILE.png`."""

from __future__ import annotations

import sys

from caselli.cli.parser import add_out, add_run, free, parser
from caselli.cli.sampling import add_engine, add_sampling, add_text, sampling
from caselli.cli.size import add_size, bar, canvas_for, place_of, size_of

PARTS = "upper, lower, left, right"


def run(arguments: list[str]) -> None:
    """Parses, completes, writes a grid: a row for each picture, what was kept and then the completions."""
    options = parser("complete", "Draws the rest of pictures of which a part is kept.")
    add_run(options)
    options.add_argument(
        "pictures", metavar="PICTURE", nargs="+", help="files, or one set: its held-out ones"
    )
    options.add_argument("--keep", metavar="PART", help=f"{PARTS}, or a picture, white where kept (upper)")
    options.add_argument("-n", "--count", type=int, default=4, help="completions of each picture (4)")
    options.add_argument("--most", type=int, default=8, help="pictures of a set (8)")
    options.add_argument("--label", help="a class; none: any")
    add_text(options)
    options.add_argument("--seed", type=int, default=0, help="the first completion's seed (0)")
    options.add_argument("--paste", action="store_true", help="put the original's pixels where it is kept")
    add_size(options)
    options.add_argument(
        "--at", default="0,0", metavar="X,Y", help="where the picture lies with --size (0,0)"
    )
    add_sampling(options)
    add_engine(options)
    add_out(options, "FILE.png")
    given = options.parse_args(arguments)
    out, drawn = free(given.out, given.overwrite), sampling(given)

    import torch

    from caselli.canvas import HALVES, half, placed
    from caselli.cli.pictures import read_pictures
    from caselli.cli.sample import in_turn
    from caselli.cli.sampling import engine_for, say_pace
    from caselli.data import to_float, whole_picture
    from caselli.errors import UserError
    from caselli.model import load, paste
    from caselli.report import grid, save_png

    if given.count < 1:
        raise UserError(f"{given.count} completions were asked for", "at least 1 was expected")
    model = load(given.run)
    engine = engine_for(model, given.precision)
    if given.size is None:
        pictures, part = read_pictures(model, given.pictures, given.most), given.keep or "upper"
        halves = part in HALVES
        keep = half(part, model.size) if halves else read_pictures(model, [part], 1)[0].mean(0) > 0
    elif given.keep is None:
        read = [to_float(whole_picture(n, model.tokenizer.config.channels)) for n in given.pictures]
        pictures, keep = placed(read, size_of(given.size), place_of(given.at))
    else:
        raise UserError("--keep was given with --size", "with --size the whole picture is kept")
    repeated = pictures.repeat_interleave(given.count, 0)
    captions = in_turn(given.text, len(pictures))
    texts = None if captions is None else [caption for caption in captions for _ in range(given.count)]
    if given.size is None:
        completed = model.complete(repeated, keep, given.label, given.seed, drawn, engine=engine, text=texts)
    else:
        told = model.conditions(len(repeated), given.label, texts)
        with bar(0) as shown:
            canvas = canvas_for(model, given, drawn, engine, shown.update)
            completed = canvas.complete(repeated, keep, told, given.seed)
    if given.paste:
        completed = paste(repeated, completed, keep)
    shown = torch.cat(
        (torch.where(keep, pictures, 0.0)[:, None], completed.unflatten(0, (-1, given.count))), 1
    )
    text = {
        "run": str(given.run),
        "keep": given.keep or (f"at {given.at}" if given.size else "upper"),
        "seed": str(given.seed),
    }
    text |= drawn.described()
    if given.text:
        text["caption"] = "; ".join(given.text)
    scale = None if given.size is None else 1
    save_png(grid(shown.flatten(0, 1), columns=given.count + 1, scale=scale), out, text)
    print(f"{len(completed)} completions in {out}", file=sys.stderr)
    say_pace(engine)
