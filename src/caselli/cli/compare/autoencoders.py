"""`caselli compare autoencoders SOURCE`."""

from __future__ import annotations

import sys

from caselli.cli.parser import free, parser


def run(arguments: list[str]) -> None:
    """Parses, trains, prints the table."""
    options = parser(
        "compare autoencoders",
        "A VAE of binary latents, trained with each estimator of its gradient for the same evaluations.",
    )
    options.add_argument("source", metavar="SOURCE", help="pictures: a set, a folder, an archive")
    options.add_argument("--size", type=int, help="height and width in pixels; the set's own")
    options.add_argument("--estimators", help="names with semicolons between; default: all")
    options.add_argument("--latents", type=int, default=200, help="binary latents of a picture (200)")
    options.add_argument("--network", default="linear", help="linear, perceptron, convolutional (linear)")
    options.add_argument("--steps", type=int, default=2000, help="of those with four evaluations (2000)")
    options.add_argument("--batch", type=int, default=50, help="pictures of a step (50)")
    options.add_argument("--learning-rate", type=float, default=3e-3, help="of Adam, at the start (0.003)")
    options.add_argument("--most", type=int, default=1000, help="held-out pictures of the bound (1000)")
    options.add_argument("--seed", type=int, default=0, help="of everything random (0)")
    options.add_argument("-o", "--out", metavar="FILE", help="write the table, FILE.md")
    options.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")
    given = options.parse_args(arguments)
    out = None if given.out is None else free(given.out, given.overwrite)

    import torch
    from tqdm import tqdm

    from caselli import data
    from caselli.family.binary import WAYS, binary_table, compare_binary, order_agreement
    from caselli.files import write_text

    names = [name.strip() for name in given.estimators.split(";")] if given.estimators else list(WAYS)
    everything = data.open(given.source, size=given.size, split="all")
    held_out = everything.split("held_out")
    asked = ("latents", "network", "steps", "batch", "learning_rate", "seed")
    settings = {name: getattr(given, name) for name in asked}
    fits = compare_binary(
        everything.split("train"),
        held_out.subset(torch.arange(min(given.most, len(held_out)))),
        names,
        **settings,
    )
    done = list(tqdm(fits, total=len(names), disable=not sys.stderr.isatty()))
    table = binary_table(done)
    print(table)
    print(f"\nrank correlation of low variance and high bound, unbiased ones: {order_agreement(done):.2f}")
    if out is not None:
        write_text(out, table + "\n")
