"""`caselli score RUN PICTURES [-o FILE.csv]`."""

from __future__ import annotations

import csv
import io

from caselli.cli.output import free
from caselli.errors import UserError


def command(
    run: str,
    source: str,
    *,
    split: str = "all",
    most: int = 20,
    bracket: int = 0,
    out: str | None = None,
    overwrite: bool = False,
) -> None:
    """Ranks pictures by their probability under a run, the least probable first.

    Arguments:
        most: number of pictures printed.
        bracket: orders by which the bits of the codes of a prior that gives a bound are bounded from both
            sides; 0 to leave it out.
        out: FILE.csv with a line for every picture.
    """
    if bracket and out is not None:
        raise UserError(
            "--bracket was given with --out",
            "bounds are of the mean of all pictures",
            "leave one of them out",
        )
    if bracket:
        _bracket(run, source, split, bracket)
        return
    path = None if out is None else free(out, overwrite, (".csv",))

    from caselli.cli.pictures import source_for
    from caselli.engine import on_device
    from caselli.evaluate import score_pictures
    from caselli.files import write_text
    from caselli.run import load

    model = on_device(load(run))
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


def _bracket(run: str, source: str, split: str, orders: int) -> None:
    """Says between which bits the codes of the pictures lie on average."""
    import torch

    from caselli.cli.pictures import source_for
    from caselli.engine import on_device
    from caselli.model import load

    model = on_device(load(run))
    pictures = source_for(model, source, split)
    parts = [model.bracket(pictures, part, orders) for part in torch.arange(len(pictures)).split(64)]
    least = torch.cat([part.below for part in parts]).mean()
    most = torch.cat([part.above for part in parts]).mean()
    print(
        f"codes of {len(pictures)} pictures: {least:.2f} to {most:.2f} bits each, "
        f"{(most - least) / most:.1%} apart, by {orders} orders"
    )
