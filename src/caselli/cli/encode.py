"""`caselli encode RUN SOURCE -o codes.safetensors`."""

from __future__ import annotations

from caselli.cli.parser import add_out, add_run, free, parser


def run(arguments: list[str]) -> None:
    """Parses, encodes, writes the store of codes."""
    options = parser("encode", "Turns pictures into codes, or into the vectors of a family.")
    add_run(options)
    options.add_argument("source", metavar="SOURCE", help="pictures: a set, a folder, an archive")
    options.add_argument("--split", default="all", help="train, held_out or all (all)")
    add_out(options, "FILE.safetensors")
    given = options.parse_args(arguments)
    out = free(given.out, given.overwrite)

    from caselli.cli.pictures import source_for
    from caselli.run import load

    model = load(given.run)
    found = model.encoded(source_for(model, given.source, given.split))
    found.save(out)
    print(f"{len(found)} pictures in {out}")
