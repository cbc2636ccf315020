"""Steps of the commands that draw pictures: engine, size, progress, pace."""

from __future__ import annotations

import sys
from typing import Any

from caselli.errors import UserError


def engine_for(model: Any, precision: str | None, draft: str | None = None) -> Any:
    """The fastest engine that draws a model's codes, timed; says why where that is not the fused step.

    Arguments:
        draft: run folder of a smaller prior that proposes codes.
    """
    from caselli import ranks
    from caselli.sampling import Timed

    if draft is not None:
        return Timed(speculative(model, draft, precision))
    engine, why = model.engine(precision)
    if why and ranks.is_first():
        print(f"sampling {engine.name}: {why}", file=sys.stderr)
    return None if engine is None else Timed(engine)


def speculative(model: Any, draft: str, precision: str | None) -> Any:
    """An engine for which the prior of another run proposes codes.

    Errors: `UserError` where the runs have not the same tokenizer and order.
    """
    from caselli.engine import on_device
    from caselli.model import load
    from caselli.sampling import SpeculativeEngine

    other = on_device(load(draft))
    model.expect_same_codes(other)
    return SpeculativeEngine(model.require_prior(), other.require_prior(), precision)


def say_made(words: str, engine: Any) -> None:
    """Says what was written, and tokens per second where codes were drawn."""
    print(words, file=sys.stderr)
    if engine is not None:
        print(engine.pace(), file=sys.stderr)


def size_of(words: str) -> tuple[int, int]:
    """Height and width of `WxH`.

    Example:
        >>> size_of("512x256")
        (256, 512)
    """
    parts = words.lower().replace("×", "x").split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) for part in parts):
        raise UserError(f"size {words!r} was given", "width and height were expected, such as 512x256")
    return int(parts[1]), int(parts[0])


def place_of(words: str) -> tuple[int, int]:
    """Pixels from the top and the left of `X,Y`.

    Example:
        >>> place_of("64,0")
        (0, 64)
    """
    parts = words.split(",")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        raise UserError(f"place {words!r} was given", "pixels from the left and the top were expected: 64,0")
    return int(parts[1]), int(parts[0])


def canvas_for(model: Any, size: str, stride: int | None, options: Any, engine: Any, progress: Any) -> Any:
    """A canvas of the size; says how its pictures are decoded."""
    from caselli import ranks
    from caselli.canvas import Canvas

    canvas = Canvas(model, size_of(size), stride, options, progress=progress, engine=engine)
    if ranks.is_first():
        print(f"decoding: {canvas.tiles.about()}", file=sys.stderr)
    return canvas


def bar(tokens: int) -> Any:
    """A bar of progress with tokens per second, on the first rank's terminal."""
    from tqdm import tqdm

    from caselli import ranks

    hidden = not (ranks.is_first() and sys.stderr.isatty())
    return tqdm(total=tokens, unit="token", unit_scale=True, disable=hidden)


def in_turn(captions: list[str], count: int) -> list[str] | None:
    """One caption for each picture, of several taken in turn; None without captions.

    Example:
        >>> in_turn(["a cat", "a dog"], 3)
        ['a cat', 'a dog', 'a cat']
    """
    return [captions[i % len(captions)] for i in range(count)] if captions else None
