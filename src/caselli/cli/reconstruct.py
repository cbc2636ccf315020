"""`caselli reconstruct RUN PICTURES... -o FILE.png`."""

from __future__ import annotations

from caselli.cli.parser import add_out, add_run, free, parser


def run(arguments: list[str]) -> None:
    """Parses, reconstructs, writes originals beside reconstructions."""
    options = parser("reconstruct", "Shows pictures beside what the tokenizer makes of them.")
    add_run(options)
    options.add_argument(
        "pictures", nargs="+", metavar="PICTURES", help="picture files, or one set or folder"
    )
    options.add_argument("--most", type=int, default=48, help="pictures taken of a set (48)")
    add_out(options, "FILE.png")
    given = options.parse_args(arguments)
    out = free(given.out, given.overwrite)

    from caselli.cli.pictures import read_pictures
    from caselli.evaluate.pictures import psnr
    from caselli.report import pairs, save_png
    from caselli.run import load

    model = load(given.run)
    x = read_pictures(model, given.pictures, given.most)
    y = model.reconstruct(x).cpu()
    save_png(pairs(x, y), out, {"run": given.run})
    print(f"{len(x)} pictures in {out}, {psnr(y, x).mean():.2f} dB")
