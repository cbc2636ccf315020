"""`caselli import FILE --from taming -o RUN`."""

from __future__ import annotations

from caselli.cli.parser import add_out, free, parser


def run(arguments: list[str]) -> None:
    """Parses, reads the checkpoint, writes a run with its tokenizer."""
    options = parser("import", "Makes a run of a tokenizer trained elsewhere; no code in the file is run.")
    options.add_argument(
        "files", nargs="+", metavar="FILE", help="a checkpoint; encoder and decoder where they are apart"
    )
    options.add_argument(
        "--from", dest="family", required=True, metavar="FAMILY", help="see `caselli list importer`"
    )
    options.add_argument("--size", type=int, help="pixels of each side it is used at (256)")
    options.add_argument("--groups", type=int, help="of the normalisations (config.json's, or 32)")
    add_out(options, "RUN, a folder")
    given = options.parse_args(arguments)
    out = free(given.out, given.overwrite)

    from caselli.interop import import_tokenizer
    from caselli.run import adopt

    imported = import_tokenizer(given.files, given.family, given.size, given.groups)
    adopt(imported.tokenizer, imported.size, out)
    print(f"{out}: {imported.tokenizer.report((imported.size, imported.size))}")
