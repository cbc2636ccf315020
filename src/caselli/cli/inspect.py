"""`caselli inspect MODEL [--input 3x256x256] [--at LAYER] [-o page.html]`."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from caselli.cli.parser import free, parser
from caselli.errors import UnknownName, UserError

if TYPE_CHECKING:
    from torch import nn


def run(arguments: list[str]) -> None:
    """Parses, inspects, prints the table, writes the page."""
    options = parser(
        "inspect", "Tells what each layer of a network sees and costs, without running it on data."
    )
    options.add_argument(
        "model", metavar="MODEL", help="a run, a network of the zoo, or package.module:callable"
    )
    options.add_argument("--input", default=None, help="CxHxW of one picture (3x224x224; a run's own)")
    options.add_argument("--at", metavar="LAYER", help="the layer whose field is looked at closely")
    options.add_argument("--original", action="store_true", help="a zoo network as its authors had it")
    options.add_argument("-o", "--out", metavar="PAGE", help="write a page, PAGE.html, with the field drawn")
    options.add_argument("--overwrite", action="store_true", help="replace PAGE if it is there")
    given = options.parse_args(arguments)
    out = None if given.out is None else free(given.out, given.overwrite)

    from caselli import anatomy

    module, default = _network(given.model, given.original)
    found = anatomy.inspect(module, _shape(given.input or default), given.at)
    print(found.table())
    if out is not None:
        _page(found, given.model).write(out)
        print(f"look at {out}", file=sys.stderr)


def _network(name: str, original: bool) -> tuple[nn.Module, str]:
    """The network, and the input that it is looked at with unless another is given."""
    import torch

    from caselli.anatomy.zoo import ZOO, Convention

    if Path(name).is_dir():
        from caselli.model import load

        model = load(name)
        return model.tokenizer.encoder, f"{model.tokenizer.config.channels}x{model.size}x{model.size}"
    if ":" in name:
        return _users(name), "3x224x224"
    if name not in ZOO:
        raise UnknownName("model", name, ZOO)
    convention = Convention.ORIGINAL if original else Convention.TORCHVISION
    with torch.device("meta"):
        return ZOO[name](convention=convention).eval(), "3x224x224"


def _users(name: str) -> nn.Module:
    """What `package.module:callable` gives; the user's own code, found from the current folder too."""
    from torch import nn

    module, _, attribute = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"{name} cannot be imported ({error})", "package.module:callable was expected"
        ) from None
    finally:
        sys.path.pop(0)
    made = found() if inspect.isclass(found) or not isinstance(found, nn.Module) else found
    if not isinstance(made, nn.Module):
        raise UserError(f"{name} gives a {type(made).__name__}", "a torch.nn.Module was expected")
    return made.eval()


def _shape(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)+", text):
        raise UserError(f"input {text!r} was given", "channels and sizes such as 3x256x256 were expected")
    return tuple(map(int, text.split("x")))


def _page(found, name: str):
    """The table and the field over an empty picture."""
    from caselli.anatomy import draw_field
    from caselli.report import Page

    page = Page(name, "what each layer sees and costs")
    page.section("Summary")
    for line in found.summary():
        page.paragraph(line)
    if len(found.input_shape) == 3:
        with tempfile.TemporaryDirectory() as folder:
            drawing = draw_field(found.at, Path(folder, "field.png"))
            page.section("Field", "What the middle output sees of the picture.")
            page.plot(drawing.read_bytes())
    page.section("Layers", "Field, effective stride and padding as seen from the input.")
    lines = found.table().split("\n\n")[0]
    page.details("every layer", lines)
    return page
