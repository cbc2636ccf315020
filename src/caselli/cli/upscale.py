"""`caselli upscale RUN PICTURE... -o FOLDER`."""

from __future__ import annotations

import sys
from typing import Any

from caselli.cli.parser import add_out, add_run, free, is_picture, parser
from caselli.cli.sampling import add_engine, add_sampling, add_text, sampling


def run(arguments: list[str]) -> None:
    """Parses, draws each picture larger, writes a file for each, or rows of before and after."""
    options = parser(
        "upscale",
        "Draws pictures larger than they are, by the factor that a run was trained for: files of any size as "
        "they are, or the held-out pictures of a set, made small first.",
    )
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

    from caselli.canvas import upscale
    from caselli.cli.sample import Asked, in_turn, write
    from caselli.cli.sampling import engine_for, say_pace
    from caselli.errors import UserError
    from caselli.model import load
    from caselli.report import grid, save_png

    model = load(given.run)
    small = _small(model, given)
    if is_picture(out) and len({picture.shape for picture in small}) > 1:
        raise UserError(
            f"pictures of several sizes were given for {given.out}",
            "pictures of one size were expected for rows",
            "name a folder, which gets a file for each",
        )
    engine, captions = engine_for(model, given.precision), in_turn(given.text, len(small))
    large = upscale(model, small, given.count, given.label, captions, given.seed, drawn, engine)
    text = {"run": str(given.run), **drawn.described()}
    if is_picture(out):
        save_png(
            grid(_rows(small, large, given.count), columns=given.count + 1),
            out,
            text | {"seed": str(given.seed)},
        )
    else:
        labels = None if given.label is None else [given.label] * len(large)
        texts = None if captions is None else [caption for caption in captions for _ in range(given.count)]
        write(large, out, Asked(labels, texts), given.seed, text)
    print(f"{len(large)} pictures in {out}", file=sys.stderr)
    say_pace(engine)


def _small(model: Any, given: Any) -> list[Any]:
    """The small pictures, `C h w` in [−1, 1]: files as they are, those of a set made small."""
    from caselli.cli.pictures import is_set, read_pictures
    from caselli.data import to_float, whole_picture

    side, names = model.require_small_size(), given.pictures
    if is_set(names):
        return list(read_pictures(model, names, given.most, side))
    return [to_float(whole_picture(name, model.tokenizer.config.channels)) for name in names]


def _rows(small: list[Any], large: list[Any], count: int) -> Any:
    """Each small picture, its pixels as squares, and its drawings."""
    import torch
    import torch.nn.functional as F

    before = F.interpolate(torch.stack(small), size=large[0].shape[1:])
    after = torch.stack(large).unflatten(0, (-1, count))
    return torch.cat((before[:, None], after), 1).flatten(0, 1)
