"""A command is a typed function: its signature makes the parser, its docstring the help."""

from __future__ import annotations

import dataclasses
import inspect
import re
import shutil
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, Literal, NoReturn

import docstring_parser
import jsonargparse

from caselli.cli.advice import advise
from caselli.errors import UnknownName, UserError

SHORT = {"out": "-o", "count": "-n"}
"""Parameters that have a letter too, the same in every command."""
SHARED = {
    "run": "a run folder, as `caselli train` makes it",
    "source": "pictures: a set, a folder, an archive",
    "split": "part of the set: train, held_out or all",
    "label": "a class; none for any",
    "text": "a caption, for a run trained with captions; several, each after --text, are taken in turn",
    "size": "WxH, width and height in pixels (the training pictures')",
    "stride": "codes of a row drawn in one window of --size (half of them)",
    "precision": "weights while sampling: float32, bfloat16 or int8 (as they are stored)",
    "batch": "sequences computed at a time; the result does not depend on it",
    "allow_large": "allow more than 4,194,304 pixels at once",
    "overwrite": "replace OUT if it is there",
    "resume": "go on with what was interrupted",
    "seed": "seed of everything random",
}
"""Help of parameters that mean one thing in every command; a docstring may say more."""
WORDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false"}
"""Kinds of values, as messages name them."""
REQUIRED = inspect.Parameter.empty
RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 1 << 62),
    "batch": (0, 1 << 20),
    "strength": (0, 1),
    "smooth": (0, 1),
    "share": (0.001, 1),
    "count": (1, 1_000_000),
    "rank": (0, 4096),
    "patience": (0, 1000),
    "shift": (0, 1024),
    "replay": (0, 0.99),
    **dict.fromkeys(("temperature", "choice_temperature", "guidance", "strengths", "top_p"), (0, 1e9)),
    **dict.fromkeys(("data", "transfer", "trial", "whole", "guidance_to"), (0, 1)),
}
"""Least and largest value of numbers that zero, or a bound of their own, means something for. Others are more
than zero, or not below it where zero is their default, and at most `MOST`."""
RENAMED = {"--reader-steps": "--classifier-steps"}
"""Options that have another name since → that name."""
MOST = 1_000_000_000


@dataclasses.dataclass(frozen=True)
class Option:
    """A parameter of a command, or a field of a record among its parameters."""

    name: str
    kind: Any
    default: Any
    help: str
    positional: bool = False
    separator: str = ""
    """Between the items of a list that is typed as one word; where there is none the option is repeated."""

    @property
    def key(self) -> str:
        """The name as it is parsed: without the underscore behind a word that Python keeps for itself."""
        return self.name.strip("_")

    @property
    def flag(self) -> str:
        """The option as it is typed."""
        return "--" + self.key.replace("_", "-")

    @property
    def plain(self) -> Any:
        """The kind of a value that is given: `int` for `int | None`, `str` for `list[str]`."""
        if typing.get_origin(self.kind) in (types.UnionType, typing.Union, list, tuple):
            return next(kind for kind in typing.get_args(self.kind) if kind is not type(None))
        return self.kind

    @property
    def several(self) -> bool:
        """True where the parameter is a list."""
        return typing.get_origin(self.kind) in (list, tuple)

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of a `Literal`; none for other kinds."""
        return typing.get_args(self.plain) if typing.get_origin(self.plain) is Literal else ()

    def add_to(self, parser: jsonargparse.ArgumentParser) -> None:
        """Declares the option."""
        line = self.line
        if self.positional:
            optional = self.default is not REQUIRED
            count = ("*" if optional else "+") if self.several else "?" if optional else None
            parser.add_argument(self.name, nargs=count, metavar=self.name.upper(), help=line, type=self.plain)
        elif self.kind is bool:
            parser.add_argument(self.flag, action="store_true", help=line)
        else:
            names = (SHORT[self.name], self.flag) if self.name in SHORT else (self.flag,)
            word = {"type": str} if self.separator else {"action": "append"}
            rest = word if self.several else {"type": self.plain}
            if self.default is REQUIRED:
                rest["required"] = True
            elif not self.several:
                rest["default"] = self.default
            parser.add_argument(*names, metavar=self.metavar, help=line, **rest)

    def value(self, given: Any) -> Any:
        """The argument of the function: what was typed, or the default."""
        if given is None and self.several:
            return self.default
        if self.several and self.separator and not self.positional:
            try:
                words = given.strip("[] ").split(self.separator)
                given = tuple(self.plain(word.strip()) for word in words if word.strip())
            except ValueError:
                self.refuse(given)
        if given != self.default:
            for one in given if isinstance(given, list | tuple) else (given,):
                self.check(one)
        return given

    def check(self, value: Any) -> None:
        """Raises a `UserError` for an empty word, and for a number that is out of range or none."""
        if str(value) == "":
            raise UserError(f"an empty {self.key.replace('_', ' ')} was given", "a word was expected")
        if self.plain not in (int, float):
            return
        least, most = RANGES.get(self.name, (int(self.default != 0 and self.plain is int), MOST))
        positive = self.plain is float and self.name not in RANGES and self.default != 0
        if not least <= value <= most or (positive and value == 0):
            expected = "more than 0" if positive else f"at least {least}"
            expected += f" and at most {most:,}" if value > least else ""
            raise UserError(f"{self.key.replace('_', ' ')} {value} was given", f"{expected} was expected")

    def refuse(self, value: str) -> NoReturn:
        """Raises the `UserError` of a value that is of another kind."""
        if self.choices:
            raise UnknownName(self.name.replace("_", " "), value, self.choices)
        expected = WORDS.get(self.plain, f"a {getattr(self.plain, '__name__', self.plain)}")
        if self.separator:
            expected += f", or several with {self.separator!r} between,"
        raise UserError(f"{self.name.replace('_', ' ')} {value!r} was given", f"{expected} was expected")

    @property
    def metavar(self) -> str:
        """The word for a value, in help."""
        return {int: "N", float: "X"}.get(self.plain, self.key.split("_")[-1].upper())

    @property
    def line(self) -> str:
        """The help, with the choices that it does not name and the default."""
        missing = ", ".join(choice for choice in self.choices if choice not in self.help)
        line = f"{self.help}: {missing}" if missing else self.help
        if self.default is REQUIRED or isinstance(self.default, bool) or self.default in (None, "", ()):
            return line
        shown = f"{self.default:g}" if isinstance(self.default, float) else self.default
        shown = self.separator.join(map(str, self.default)) if self.separator else shown
        return line if f"({shown}" in line else f"{line} ({shown})"


class Parser(jsonargparse.ArgumentParser):
    """jsonargparse's parser, whose mistakes are `UserError`s of one line."""

    options: typing.ClassVar[dict[str, Option]] = {}

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        words = " ".join(message.split())
        wrong = re.match(r'Parser key "(\w+)":.*?(?:Got value|Given value): ?(.*)$', words)
        if wrong and wrong[1] in self.options:
            self.options[wrong[1]].refuse(wrong[2])
        missing = re.match(r"the following arguments are required: (.*)$", words)
        if missing:
            raise UserError(f"no {missing[1]} was given", f"`{self.usage}` was expected")
        raise UserError(words, remedy=f"see `{self.prog} --help`")


class _Help(jsonargparse.DefaultHelpFormatter):
    """Help whose lines are the options' own: kinds and defaults stand in them."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=min(110, shutil.get_terminal_size((100, 24)).columns))

    def _get_help_string(self, action: Any) -> str:
        return action.help or ""


def call(name: str, function: Callable[..., None], words: list[str]) -> None:
    """Runs a command's function with what was typed behind the command's name.

    Arguments:
        name: the command.
        function: its positional parameters are positional arguments, its keyword-only ones options; a
            parameter whose kind is a dataclass stands for an option a field; `**fields` takes every option
            whose name has a dot, as it was typed.
        words: what was typed.

    Errors: `UserError` for what does not fit.
    """
    parser, fields = parser_of(name, function), {}
    if _takes_fields(function):
        words, fields = _parted(words)
    words = [_dashed(word) for word in words]
    for word in words:
        option = word.partition("=")[0]
        if option in RENAMED:
            raise UserError(f"{option} was given", f"its name is {RENAMED[option]} now")
    given = parser.parse_args(words)
    values = {option.name: option.value(given[option.key]) for option in parser.options.values()}
    for parameter, record in _records(function).items():
        values[parameter] = record(**{f.name: values.pop(f.name) for f in dataclasses.fields(record)})
    function(**values, **fields)
    advise(name.split()[0], values)


def parser_of(name: str, function: Callable[..., None]) -> Parser:
    """The parser of a command."""
    described = docstring_parser.parse(inspect.getdoc(function) or "")
    description = " ".join(filter(None, (described.short_description, described.long_description)))
    options = list(options_of(function))
    needed = [_shown(option) for option in options if option.positional or option.default is REQUIRED]
    usage = " ".join(["caselli", name, *needed, "[options]"])
    parser = Parser(
        prog=f"caselli {name}",
        usage=usage,
        description=description,
        formatter_class=_Help,
        allow_abbrev=False,
    )
    parser.options = {option.key: option for option in options}
    for option in parser.options.values():
        option.add_to(parser)
    return parser


def _shown(option: Option) -> str:
    """An argument in the line of usage."""
    if not option.positional:
        return f"{SHORT.get(option.name, option.flag)} {option.key.upper()}"
    name = option.name.upper() + ("..." if option.several else "")
    return name if option.default is REQUIRED else f"[{name}]"


def options_of(function: Callable[..., None]) -> Iterator[Option]:
    """The options of a command in the order of its parameters, a record's fields in the record's place."""
    kinds, lines = typing.get_type_hints(function), _lines(function)
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        if name in _records(function):
            yield from fields_of(kinds[name])
        else:
            positional = parameter.kind is not parameter.KEYWORD_ONLY
            yield Option(name, kinds[name], parameter.default, lines.get(name) or SHARED[name], positional)


def fields_of(record: Any) -> Iterator[Option]:
    """An option for each field of a record."""
    record = record if isinstance(record, type) else type(record)
    kinds, lines = typing.get_type_hints(record), _lines(record)
    for field in dataclasses.fields(record):
        default, kind = _default(field), kinds[field.name]
        separator = field.metadata.get("separator", "," if typing.get_origin(kind) is tuple else "")
        yield Option(field.name, kind, default, lines.get(field.name, ""), default is REQUIRED, separator)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return REQUIRED if field.default is dataclasses.MISSING else field.default


def _records(function: Callable[..., None]) -> dict[str, Any]:
    kinds = typing.get_type_hints(function)
    return {name: kind for name, kind in kinds.items() if dataclasses.is_dataclass(kind)}


def _lines(documented: Any) -> dict[str, str]:
    """Parameter or field → its help, without a full stop."""
    parents = documented.__mro__[-2::-1] if isinstance(documented, type) else (documented,)
    params = [p for parent in parents for p in docstring_parser.parse_from_object(parent).params]
    return {p.arg_name: " ".join((p.description or "").split()).rstrip(".") for p in params}


def _takes_fields(function: Callable[..., None]) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _parted(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """The words without options that have a dot in their names, and those with their values.

    Errors: `UserError` for such an option without a value.
    """
    rest: list[str] = []
    fields: dict[str, str] = {}
    coming = iter(words)
    for word in coming:
        name, equals, value = word.partition("=")
        if not (name.startswith("--") and "." in name):
            rest.append(word)
            continue
        value = value if equals else next(coming, None)
        if value is None:
            raise UserError(f"{name} was given", "a value was expected behind it")
        fields[name.removeprefix("--")] = value
    return rest, fields


def _dashed(word: str) -> str:
    """An option typed with underscores, such as `--top_k`, as it is declared."""
    found = re.match(r"--[a-z0-9_]+(?==|$)", word)
    return word if found is None else found[0].replace("_", "-") + word[found.end() :]
