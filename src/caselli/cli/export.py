"""`caselli export RUN --to onnx -o FOLDER`."""

from __future__ import annotations

from caselli.cli.parser import add_out, add_run, free, parser


def run(arguments: list[str]) -> None:
    """Parses, writes the programs, checks them by running them."""
    options = parser("export", "Writes encoder and decoder as programs that run without Caselli.")
    add_run(options)
    options.add_argument("--to", default="onnx", metavar="FORM", help="onnx or torch (onnx)")
    add_out(options, "FOLDER")
    given = options.parse_args(arguments)
    out = free(given.out, given.overwrite)

    from caselli.interop import export_tokenizer
    from caselli.model import load

    model = load(given.run)
    found = export_tokenizer(model.tokenizer, model.size, out, given.to)
    print(
        f"{found.encoder} and {found.decoder}: {found.differing} of {found.codes} codes differ "
        f"from the run's, pictures by up to {found.largest_difference:.0e}"
    )
