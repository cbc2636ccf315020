"""The windows of a canvas of codes: their places, order, and seeds."""

from __future__ import annotations

import dataclasses
import hashlib


@dataclasses.dataclass(frozen=True)
class CanvasBlock:
    """A block of codes that are drawn at once, and the window that they are drawn in."""

    rows: slice
    columns: slice
    window: tuple[slice, slice]
    """Rows and columns of the window."""

    @property
    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the block within the window."""
        top, left = (side.start for side in self.window)
        return (
            slice(self.rows.start - top, self.rows.stop - top),
            slice(self.columns.start - left, self.columns.stop - left),
        )


def plan(
    canvas: tuple[int, int], window: tuple[int, int], block: tuple[int, int], centred: bool = False
) -> list[list[CanvasBlock]]:
    """Windows whose blocks cover the canvas row by row, in waves: those of one wave may be drawn at once.

    A block's window has as many columns before the block as behind it, and ends with the block's last row, or
    has as many rows above as below where it is `centred`; at the canvas's edges it is moved inside. A block
    comes one wave after the latest block that its window holds, so that waves give what one block after the
    other gives.

    Arguments:
        canvas, window, block: rows and columns of codes; the canvas holds the window, the window the block.
        centred: True where known codes below a block count.

    Example:
        >>> [len(wave) for wave in plan((4, 8), (2, 4), (1, 2))]
        [1, 1, 2, 2, 2, 2, 2, 2, 1, 1]
    """
    levels = [[0] * canvas[1] for _ in range(canvas[0])]
    waves: list[list[CanvasBlock]] = []
    for top in range(0, canvas[0], block[0]):
        for left in range(0, canvas[1], block[1]):
            rows = slice(top, min(top + block[0], canvas[0]))
            columns = slice(left, min(left + block[1], canvas[1]))
            above = (rows.start + rows.stop - window[0]) // 2 if centred else rows.stop - window[0]
            before = (columns.start + columns.stop - window[1]) // 2
            made = CanvasBlock(
                rows, columns, (_moved(above, 0, window, canvas), _moved(before, 1, window, canvas))
            )
            level = max(max(row[made.window[1]]) for row in levels[made.window[0]])
            if level == len(waves):
                waves.append([])
            waves[level].append(made)
            for row in levels[rows]:
                row[columns] = [level + 1] * (columns.stop - columns.start)
    return waves


def _moved(start: int, axis: int, window: tuple[int, int], canvas: tuple[int, int]) -> slice:
    """A window's side, moved inside the canvas."""
    start = min(max(0, start), canvas[axis] - window[axis])
    return slice(start, start + window[axis])


def window_seed(seed: int, row: int, column: int) -> int:
    """The seed of a window of a picture, its own for every place.

    Example:
        >>> window_seed(3, 0, 4) == window_seed(3, 0, 4) != window_seed(3, 4, 0)
        True
    """
    digest = hashlib.blake2b(f"{seed} {row} {column}".encode(), digest_size=7)
    return int.from_bytes(digest.digest(), "big")
