"""`caselli compare divergences`."""

from __future__ import annotations

import io
import sys

from caselli.cli.parser import free, parser


def run(arguments: list[str]) -> None:
    """Parses, fits, prints the table and writes the picture."""
    options = parser(
        "compare divergences", "A model of the plane fitted under each divergence: what it leaves out."
    )
    options.add_argument("--targets", help="names with commas between (eight_gaussians, ring, ...)")
    options.add_argument("--divergences", help="names with commas between; default: eight that differ")
    options.add_argument("--model", default="mixture", help="mixture of Gaussians, or generator (mixture)")
    options.add_argument("--components", type=int, default=4, help="of the mixture (4)")
    options.add_argument("--steps", type=int, default=400, help="of each fit (400)")
    options.add_argument("--seed", type=int, default=0, help="of everything random (0)")
    options.add_argument("-o", "--out", metavar="FILE", help="write the picture, FILE.png")
    options.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")
    given = options.parse_args(arguments)
    out = None if given.out is None else free(given.out, given.overwrite)

    from tqdm import tqdm

    from caselli.family import comparison
    from caselli.family.plane import TARGETS, compared, fitting_the_plane
    from caselli.files import atomic_write

    targets = given.targets.split(",") if given.targets else list(TARGETS)
    asked = given.divergences.split(",") if given.divergences else list(comparison.SHOWN)
    names = asked if given.divergences else [n for n in asked if n in fitting_the_plane(given.model)]
    settings = {name: getattr(given, name) for name in ("model", "components", "steps", "seed")}
    total = len(targets) * len(names)
    fits = list(tqdm(compared(targets, names, **settings), total=total, disable=not sys.stderr.isatty()))
    print("precision / recall in hundredths\n\n" + comparison.table(fits))
    print(f"\n{total} fits in {sum(f.seconds for f in fits):.0f} s", file=sys.stderr)
    if out is not None:
        picture = io.BytesIO()
        comparison.plot(fits).savefig(picture, format="png", dpi=110)
        with atomic_write(out) as temporary:
            temporary.write_bytes(picture.getvalue())
