"""`caselli score RUN PICTURES [-o FILE.csv]`."""

from __future__ import annotations

import csv
import io

from caselli.cli.parser import add_run, free, parser


def run(arguments: list[str]) -> None:
    """Parses, scores, prints the odd pictures first, writes all of them."""
    options = parser("score", "How probable a run finds pictures; the odd ones first.")
    add_run(options)
    options.add_argument("source", metavar="PICTURES", help="pictures: a set, a folder, an archive")
    options.add_argument("--split", default="all", help="train, held_out or all (all)")
    options.add_argument("--most", type=int, default=20, help="lines printed (20)")
    options.add_argument("-o", "--out", metavar="FILE", help="write a line for every picture, FILE.csv")
    options.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")
    given = options.parse_args(arguments)
    out = None if given.out is None else free(given.out, given.overwrite)

    from caselli.cli.pictures import source_for
    from caselli.evaluate.score import score_pictures
    from caselli.files import write_text
    from caselli.run import load

    model = load(given.run)
    scores = score_pictures(model, source_for(model, given.source, given.split))
    rows = scores.oddest_first()
    if out is not None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["picture", "bits_per_dimension" + ("_bound" if scores.kind == "bound" else "")])
        writer.writerows((name, f"{bits:.6f}") for name, bits in rows)
        write_text(out, text.getvalue())
    print(f"{scores.words}; mean {scores.bits_per_dimension.mean():.4f} over {len(rows)} pictures")
    for name, bits in rows[: given.most]:
        print(f"{bits:10.4f}  {name}")
    if len(rows) > given.most:
        print(f"... and {len(rows) - given.most} more, the likeliest {rows[-1][0]} at {rows[-1][1]:.4f}")
