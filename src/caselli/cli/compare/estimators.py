"""`caselli compare estimators`."""

from __future__ import annotations

import io

from caselli.cli.parser import free, parser
from caselli.errors import UserError


def run(arguments: list[str]) -> None:
    """Parses, measures, prints the table and writes the plot."""
    options = parser("compare estimators", "Bias, variance, direction and cost of gradient estimators.")
    options.add_argument("--problem", default="bernoulli", help="name of a problem (bernoulli)")
    options.add_argument("--estimators", help="names with commas between; default: all that serve")
    options.add_argument("--samples", type=int, default=1, help="for each estimate (1)")
    options.add_argument("--repeats", type=int, default=10_000, help="independent estimates (10000)")
    options.add_argument("-o", "--out", metavar="FILE", help="write the plot, FILE.png")
    options.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")
    given = options.parse_args(arguments)
    out = None if given.out is None else free(given.out, given.overwrite)
    if given.samples < 1:
        raise UserError(f"samples {given.samples} were given", "at least 1 was expected")

    from caselli.estimator import comparison, plot, table
    from caselli.files import atomic_write

    names = given.estimators.split(",") if given.estimators else None
    found = comparison(given.problem, names, given.samples, given.repeats)
    print(table(found))
    if out is not None:
        picture = io.BytesIO()
        plot(found).savefig(picture, format="png", dpi=120)
        with atomic_write(out) as temporary:
            temporary.write_bytes(picture.getvalue())
