"""Drawings of receptive fields over a picture, with the effective field beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from caselli.anatomy.field import AxisField, Field
from caselli.shapes import Float, Tensor


def axes_of_figure(columns: int = 1):
    """A new figure, independent of any that the user has open, and its axes side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * columns, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, np.atleast_1d(figure.subplots(1, columns))


def draw_field(
    field: Field,
    path: str | Path,
    picture: Float[Tensor, "C H W"] | None = None,
    effective: Float[Tensor, "H W"] | None = None,
) -> Path:
    """Draws the field of an output over a picture: a frame around what it sees, and its centre.

    Arguments:
        field: field of a network on pictures (two spatial axes).
        path: file to be written; its ending is the format (.png, .svg).
        picture: in [−1, 1], of the size that the field was computed for; grey if there is none.
        effective: shares of `effective_field`, drawn as heat.

    Returns:
        The path.
    """
    return draw_fields((field,), path, picture, effective)


def draw_fields(
    fields: Sequence[Field],
    path: str | Path,
    picture: Float[Tensor, "C H W"] | None = None,
    effective: Float[Tensor, "H W"] | None = None,
) -> Path:
    """Draws the fields of several positions of a layer over a picture, each in a colour of its own.

    Arguments:
        fields: fields of a network on pictures (two spatial axes); the title describes the last one.
        path: file to be written; its ending is the format (.png, .svg).
        picture: in [−1, 1], of the size that the fields were computed for; grey if there is none.
        effective: shares of `effective_field` of the last one, drawn as heat beside.

    Returns:
        The path.
    """
    figure, many = axes_of_figure(1 if effective is None else 2)
    shown = fields[-1]
    for axes in many:
        _show_picture(axes, shown, picture)
    for number, field in enumerate(fields):
        _frame(many[0], field, "tab:red" if field is shown else f"C{(0, 1, 2, 4, 8, 9)[number % 6]}")
    rows, columns = shown.axes
    many[0].set_xlim(_limits([field.axes[1] for field in fields]))
    many[0].set_ylim(_limits([field.axes[0] for field in fields])[::-1])
    name = shown.layer or "output"
    many[0].set_title(f"{name} {shown.position} sees {rows.size} × {columns.size}", fontsize=10)
    if effective is not None:
        _show_effective(figure, many[1], shown, effective)
    figure.savefig(path, dpi=120)
    return Path(path)


def _show_picture(axes, field: Field, picture: Tensor | None) -> None:
    height, width = (axis.picture for axis in field.axes)
    if picture is None:
        axes.imshow(np.full((height, width), 0.85), cmap="gray", vmin=0, vmax=1)
        return
    pixels = picture.detach().float().cpu().add(1).div(2).clamp(0, 1).movedim(0, -1).numpy()
    axes.imshow(pixels if pixels.shape[2] == 3 else pixels[..., 0], cmap="gray", vmin=0, vmax=1)


def _frame(axes, field: Field, colour: str) -> None:
    rows, columns = field.axes
    axes.plot(
        np.array([columns.first, columns.last + 1, columns.last + 1, columns.first, columns.first]) - 0.5,
        np.array([rows.first, rows.first, rows.last + 1, rows.last + 1, rows.first]) - 0.5,
        color=colour,
        linewidth=2,
    )
    axes.plot(columns.centre, rows.centre, "+", color=colour, markersize=10)


def _limits(found: list[AxisField]) -> tuple[float, float]:
    first, last = min(axis.first for axis in found), max(axis.last for axis in found)
    return min(first, 0) - 1.5, max(last, found[0].picture - 1) + 1.5


def _show_effective(figure, axes, field: Field, effective: Tensor) -> None:
    """Heat, with the box that holds nearly all of it in the title: the field is mostly far smaller."""
    heat = effective.detach().float().cpu().numpy()
    image = axes.imshow(np.sqrt(heat / max(heat.max(), 1e-30)), cmap="magma", alpha=0.85, vmin=0, vmax=1)
    _frame(axes, field, "tab:red")
    axes.set_xlim(-0.5, heat.shape[1] - 0.5)
    axes.set_ylim(heat.shape[0] - 0.5, -0.5)
    figure.colorbar(image, ax=axes, shrink=0.8, label="root of the gradient's share of the largest")
    high, wide = (_central(heat.sum(axis)) for axis in (1, 0))
    axes.set_title(f"95 % of its gradient lies within {high} × {wide}", fontsize=10)


def _central(shares: np.ndarray, part: float = 0.95) -> int:
    """Number of positions that hold the middle `part` of all shares.

    Example:
        >>> _central(np.array([0.0, 0.25, 0.5, 0.25, 0.0]))
        3
    """
    if shares.sum() <= 0:
        return 0
    below = np.cumsum(shares) / shares.sum()
    first, last = np.searchsorted(below, [(1 - part) / 2, (1 + part) / 2])
    return int(last - first) + 1
