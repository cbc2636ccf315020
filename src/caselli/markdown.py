"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column has names, to the left, and whose others have figures, to the right.

    Example:
        >>> print(table(("codec", "bytes"), [("PNG", "3,373")]))
        | codec | bytes |
        | --- | --: |
        | PNG | 3,373 |
    """
    lines = (head, ("---", *["--:"] * (len(head) - 1)), *rows)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
