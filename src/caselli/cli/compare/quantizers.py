"""`caselli compare quantizers SOURCE --minutes M -o FOLDER`."""

from __future__ import annotations

from caselli.cli.parser import add_out, parser
from caselli.errors import UserError


def run(arguments: list[str]) -> None:
    """Parses, trains a tokenizer with each quantizer, prints the table."""
    options = parser(
        "compare quantizers",
        "The same backbone, pictures and budget for each quantizer: a table, a plot of rate against "
        "distortion, a page of pictures.",
    )
    options.add_argument("source", metavar="SOURCE", help="pictures: a set, a folder, an archive")
    options.add_argument("--minutes", type=float, help="training time of each (4)")
    options.add_argument("--steps", type=int, help="training steps of each, instead of minutes")
    options.add_argument("--quantizers", default="", help="names with commas between (all)")
    options.add_argument("--recipe", default="tiny", help="gives the backbone (tiny)")
    options.add_argument("--size", type=int, help="height and width in pixels")
    options.add_argument("--seed", type=int, default=0, help="of everything random (0)")
    options.add_argument("--lpips", metavar="WEIGHTS", help="VGG-16's weights in a local file, for LPIPS")
    options.add_argument("--resume", action="store_true", help="go on with the comparison in OUT")
    add_out(options, "the folder")
    given = options.parse_args(arguments)
    if given.minutes is not None and given.steps is not None:
        raise UserError("minutes and steps were given", "one of them was expected")
    if given.minutes is None and given.steps is None:
        given.minutes = 4.0

    from caselli import ranks
    from caselli.engine import Interrupted
    from caselli.recipe.quantizer_comparison import compare_quantizers
    from caselli.recipe.quantizer_figures import table

    try:
        found = compare_quantizers(
            given.source,
            given.out,
            quantizers=[name for name in given.quantizers.split(",") if name],
            minutes=given.minutes,
            steps=given.steps,
            recipe=given.recipe,
            size=given.size,
            seed=given.seed,
            vgg=given.lpips,
            resume=given.resume,
            overwrite=given.overwrite,
        )
    except Interrupted as error:
        raise KeyboardInterrupt(f"{error}; go on with the same command and --resume") from None
    finally:
        ranks.stop()
    print(table(found), end="")
