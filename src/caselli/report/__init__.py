"""Pictures, plots, and the page of a run; matplotlib is imported when something is drawn."""

from __future__ import annotations

from caselli.report.grid import grid, pairs, rows, save_png
from caselli.report.masks import mask_image, masks_grid
from caselli.report.page import Page
from caselli.report.plots import bars, curves, scatter, sorted_counts
from caselli.report.run import write_report
from caselli.report.strips import save_canvas, save_strips

__all__ = [
    "Page",
    "bars",
    "curves",
    "grid",
    "mask_image",
    "masks_grid",
    "pairs",
    "rows",
    "save_canvas",
    "save_png",
    "save_strips",
    "scatter",
    "sorted_counts",
    "write_report",
]
