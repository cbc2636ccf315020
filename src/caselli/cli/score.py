"""`caselli score RUN PICTURES [-o FILE.csv]`."""

from __future__ import annotations

import csv
import io

from caselli.cli.output import free


def command(
    run: str,
    source: str,
    *,
    split: str = "all",
    most: int = 20,
    out: str | None = None,
    overwrite: bool = False,
) -> None:
    """Ranks pictures by their probability under a run, the least probable first.

    Arguments:
        most: number of pictures printed.
        out: FILE.csv with a line for every picture.
    """
    path = None if out is None else free(out, overwrite, (".csv",))

    from caselli.cli.pictures import source_for
    from caselli.evaluate import score_pictures
    from caselli.files import write_text
    from caselli.run import load

    model = load(run)
    scores = score_pictures(model, source_for(model, source, split))
    rows = scores.oddest_first()
    if path is not None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["picture", "bits_per_dimension" + ("_bound" if scores.kind == "bound" else "")])
        writer.writerows((name, f"{bits:.6f}") for name, bits in rows)
        write_text(path, text.getvalue())
    print(f"{scores.words}; mean {scores.bits_per_dimension.mean():.4f} over {len(rows)} pictures")
    for name, bits in rows[:most]:
        print(f"{bits:10.4f}  {name}")
    if len(rows) > most:
        print(f"... and {len(rows) - most} more, the likeliest {rows[-1][0]} at {rows[-1][1]:.4f}")
