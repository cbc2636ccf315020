"""Pictures: what an output sees, drawn over a picture; the effective field; a perceptron's threshold."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from caselli.anatomy.receptive_field import Field
from caselli.anatomy.threshold import PerceptronRun
from caselli.shapes import Float, Tensor


def _axes(columns: int = 1):
    """Axes of a new figure, apart from any that the user has open."""
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
        field: of a network on pictures (two spatial axes).
        path: where the drawing is written; the ending says what kind (.png, .svg).
        picture: in [−1, 1], of the size that the field was computed for; grey if there is none.
        effective: shares of `effective_field`, drawn as heat.

    Returns:
        The path.
    """
    figure, (axes,) = _axes()
    rows, columns = field.axes
    height, width = rows.picture, columns.picture
    if picture is None:
        axes.imshow(np.full((height, width), 0.85), cmap="gray", vmin=0, vmax=1)
    else:
        shown = picture.detach().float().cpu().add(1).div(2).clamp(0, 1).movedim(0, -1).numpy()
        axes.imshow(shown if shown.shape[2] == 3 else shown[..., 0], cmap="gray", vmin=0, vmax=1)
    if effective is not None:
        heat = effective.detach().float().cpu().numpy()
        axes.imshow(heat / max(heat.max(), 1e-30), cmap="magma", alpha=0.6)
    axes.plot(
        np.array([columns.first, columns.last + 1, columns.last + 1, columns.first, columns.first]) - 0.5,
        np.array([rows.first, rows.first, rows.last + 1, rows.last + 1, rows.first]) - 0.5,
        color="tab:red",
        linewidth=2,
    )
    axes.plot(columns.centre, rows.centre, "+", color="tab:red", markersize=10)
    axes.set_xlim(min(columns.first, 0) - 1, max(columns.last, width - 1) + 1)
    axes.set_ylim(max(rows.last, height - 1) + 1, min(rows.first, 0) - 1)
    axes.set_title(
        f"{field.layer or 'output'} {field.position} sees {rows.size} × {columns.size}", fontsize=10
    )
    figure.savefig(path, dpi=120)
    return Path(path)


def draw_perceptrons(runs: dict[str, PerceptronRun], x: Tensor, labels: Tensor, path: str | Path) -> Path:
    """Draws points of two classes with the line that each perceptron learnt.

    Arguments:
        runs: name → run, in two dimensions.
        x: n points of two coordinates.
        labels: n classes, 0 or 1.
        path: where the drawing is written.

    Returns:
        The path.
    """
    figure, many = _axes(len(runs))
    for axes, (name, run) in zip(many, runs.items(), strict=True):
        for label, colour in ((0, "tab:blue"), (1, "tab:orange")):
            chosen = x[labels == label]
            axes.scatter(chosen[:, 0], chosen[:, 1], s=14, color=colour)
        spread = float(x.abs().max()) * 1.1
        ends = np.array([-spread, spread])
        a, b = run.weight.tolist()
        if abs(b) > 1e-12:
            axes.plot(ends, (run.threshold - a * ends) / b, color="black")
        elif abs(a) > 1e-12:
            axes.axvline(run.threshold / a, color="black")
        axes.set(xlim=ends, ylim=ends, aspect="equal")
        axes.set_title(f"{name}: threshold {run.threshold:.2g}, {run.mistakes[-1]} mistakes", fontsize=10)
    figure.savefig(path, dpi=120)
    return Path(path)
