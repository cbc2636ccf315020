"""`caselli encode RUN SOURCE -o codes.safetensors`."""

from __future__ import annotations

from caselli.cli import family
from caselli.cli.parser import add_out, add_run, free, parser


def run(arguments: list[str]) -> None:
    """Parses, encodes, writes the store of codes."""
    options = parser("encode", "Turns pictures into codes, stamped with the tokenizer's fingerprint.")
    add_run(options)
    options.add_argument("source", metavar="SOURCE", help="pictures: a set, a folder, an archive")
    options.add_argument("--split", default="all", help="train, held_out or all (all)")
    add_out(options, "FILE.safetensors")
    given = options.parse_args(arguments)
    if family.is_family(given.run):
        family.encode(given)
        return
    out = free(given.out, given.overwrite)

    from caselli.cli.pictures import source_for
    from caselli.model import load
    from caselli.run import encode

    model = load(given.run)
    store = encode(model.tokenizer, source_for(model, given.source, given.split))
    store.save(out)
    print(f"{len(store)} pictures of {model.grid.length} codes in {out}")
