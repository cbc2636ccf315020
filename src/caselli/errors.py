"""One class for users' mistakes, and the words it is made of."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can mend: what was given, what was expected, what to do.

    The command line prints it as one line and exits with code 2; in Python it is an ordinary exception.

    Example:
        >>> str(UserError("size 30 was given", "a multiple of 8 was expected", "try --size 32"))
        'size 30 was given; a multiple of 8 was expected; try --size 32'
    """

    def __init__(self, given: str, expected: str = "", remedy: str = "") -> None:
        super().__init__("; ".join(part for part in (given, expected, remedy) if part))
        self.given, self.expected, self.remedy = given, expected, remedy


class UnknownName(UserError):
    """A name that no table has; the message lists the known names, those spelled alike first.

    Example:
        >>> str(UnknownName("mixer", "mamba3", ["attention", "mamba", "mamba2"]))
        "mixer 'mamba3' was given; did you mean mamba, mamba2? Known: attention, mamba, mamba2"
    """

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        known = list(known)
        close = difflib.get_close_matches(str(name), known, n=3)
        hint = f"did you mean {', '.join(close)}? " if close else ""
        shown = ", ".join(known[:40]) + (f", ... ({len(known)} in all)" if len(known) > 40 else "")
        super().__init__(f"{kind} {name!r} was given", f"{hint}Known: {shown}")


class MissingExtra(UserError):
    """Something needs a library that is not installed: says which, and the command that installs it."""

    def __init__(self, what: str, library: str, extra: str) -> None:
        super().__init__(
            f"{what} needs {library}, which is not installed", remedy=f"pip install 'caselli[{extra}]'"
        )


def first_line(error: BaseException) -> str:
    """The first line of what an error of another library says; its type's name where it says nothing.

    Example:
        >>> first_line(ValueError("too long")), first_line(KeyError())
        ('too long', 'KeyError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def lookup(table: dict[str, type], kind: str, name: str) -> type:
    """The entry of a room's table, or `UnknownName`.

    Example:
        >>> lookup({"a": int}, "thing", "a")
        <class 'int'>
    """
    if name not in table:
        raise UnknownName(kind, name, table)
    return table[name]


def expect(true: bool, name: str, given: object, expected: str) -> None:
    """A `UserError` where a setting is out of range.

    Example:
        >>> expect(True, "size", 32, "a multiple of 8")
    """
    if not true:
        raise UserError(f"{name} {given!r} was given", f"{expected} was expected")


def is_out_of_memory(error: BaseException) -> bool:
    """True where an error says that memory ran out, of the machine or of a device, whoever raised it.

    Readers of damaged files raise anything at all; a file is not damaged because it found no memory.

    Example:
        >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: not enough memory"))
        True
        >>> is_out_of_memory(RuntimeError("PytorchStreamReader failed reading zip archive"))
        False
    """
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    said = str(error).strip()
    signs = ("can't allocate memory", "not enough memory", "bad_alloc")
    if isinstance(error, SystemError):  # PyTorch's bindings, where Python itself found no memory for a name
        return "without exception set" in said or "without setting an exception" in said
    return named or said == "could not create a primitive" or any(sign in said for sign in signs)  # oneDNN's
