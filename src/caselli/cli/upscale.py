"""`caselli upscale RUN PICTURE... -o FOLDER`."""

from __future__ import annotations

import sys

from caselli.cli.parser import add_out, add_run, free, is_picture, parser
from caselli.cli.sampling import add_engine, add_sampling, add_text, changed, sampling


def run(arguments: list[str]) -> None:
    """Parses, draws each picture larger, writes a file for each, or rows of before and after."""
    options = parser("upscale", "Draws pictures at a run's size from smaller ones.")
    add_run(options)
    options.add_argument(
        "pictures", metavar="PICTURE", nargs="+", help="files, or one set: its held-out ones"
    )
    options.add_argument("-n", "--count", type=int, default=1, help="drawings of each picture (1)")
    options.add_argument("--most", type=int, default=8, help="pictures of a set (8)")
    options.add_argument("--label", help="a class; none: any")
    add_text(options)
    options.add_argument("--seed", type=int, default=0, help="the first drawing's seed (0)")
    add_sampling(options)
    add_engine(options)
    add_out(options, "FILE.png for rows of small and drawn ones, or a folder for a file each")
    given = options.parse_args(arguments)
    out, drawn = free(given.out, given.overwrite), sampling(given)

    import torch
    import torch.nn.functional as F

    from caselli.cli.pictures import read_pictures
    from caselli.cli.sample import Asked, in_turn, write
    from caselli.cli.sampling import engine_for, say_pace
    from caselli.errors import UserError
    from caselli.model import load
    from caselli.report import grid, save_png

    if given.count < 1:
        raise UserError(f"{given.count} drawings were asked for", "at least 1 was expected")
    model = load(given.run)
    side = model.require_small_size()
    engine = engine_for(model, given.precision)
    small = read_pictures(model, given.pictures, given.most, side)
    repeated = small.repeat_interleave(given.count, 0)
    captions = in_turn(given.text, len(small))
    texts = None if captions is None else [caption for caption in captions for _ in range(given.count)]
    pictures = model.sample(
        len(repeated), given.label, given.seed, drawn, engine=engine, text=texts, picture=repeated
    )
    text = {"run": str(given.run), **{name: str(value) for name, value in changed(drawn).items()}}
    if is_picture(out):
        before = F.interpolate(small, size=(model.size, model.size))
        shown = torch.cat((before[:, None], pictures.unflatten(0, (-1, given.count))), 1).flatten(0, 1)
        save_png(grid(shown, columns=given.count + 1), out, {**text, "seed": str(given.seed)})
    else:
        labels = None if given.label is None else [given.label] * len(pictures)
        write(pictures, out, Asked(labels, texts), given.seed, text)
    print(f"{len(pictures)} pictures in {out}", file=sys.stderr)
    say_pace(engine)
