"""Pictures, plots, and the page of a run; matplotlib is imported when something is drawn."""

from __future__ import annotations

from caselli.report.folder import Contents, read_run
from caselli.report.going_on import go_on
from caselli.report.grid import grid, pairs, rows, save_picture, save_png
from caselli.report.inspection import Timing, inspection_page
from caselli.report.masks import mask_image, masks_grid
from caselli.report.page import Page
from caselli.report.plots import FAINT, INK, PALETTE, curves, dress, logarithmic, sorted_counts
from caselli.report.run import write_report
from caselli.report.slim import slim_table
from caselli.report.strips import save_canvas, save_strips

__all__ = [
    "FAINT",
    "INK",
    "PALETTE",
    "Contents",
    "Page",
    "Timing",
    "curves",
    "dress",
    "go_on",
    "grid",
    "inspection_page",
    "logarithmic",
    "mask_image",
    "masks_grid",
    "pairs",
    "read_run",
    "rows",
    "save_canvas",
    "save_picture",
    "save_png",
    "save_strips",
    "slim_table",
    "sorted_counts",
    "write_report",
]
