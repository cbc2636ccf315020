"""Pictures of any size: a window of the training pictures' size slides over a larger grid of codes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F

from caselli import ranks
from caselli.canvas.windows import CanvasBlock, plan, window_seed
from caselli.data import enlarged
from caselli.errors import UserError
from caselli.model import Model
from caselli.prior import Conditions
from caselli.sampling import AS_LEARNED, Engine, Sampling, sample
from caselli.shapes import Bool, Float, Int, Tensor
from caselli.tokenizer.tiles import Tiles


class Canvas:
    r"""A model, and the size of the pictures that it draws.

    The codes are drawn row by row. Those of a block, `stride` neighbours of a row, are drawn by the model in
    a window of the training pictures' size:

    .. math:: x_{r,c} \sim p(\cdot \mid \text{earlier codes in the window of the block of } (r, c))

    A code that is drawn, or known, is kept by every later window. With a stride of 1 each code has a window
    of its own, with as many columns on its right as on its left: taming-transformers' sliding window; a
    longer stride takes as many times fewer windows. Codes that the model draws behind the block are dropped.
    A prior that sees known codes wherever they lie draws blocks of `stride` rows too.

    A size that the factor does not divide, or that is below the training pictures', is drawn at the next
    larger one and cropped.

    Arguments:
        model: with a prior over codes that have places.
        size: height and width in pixels.
        stride: codes of a row drawn in one window; None for half of a window's columns.
        options: guidance, temperature and truncation.
        batch: windows drawn at a time.
        progress: receives the number of codes drawn since its last call.
        engine: computes the steps; by default `Model.engine`.

    Errors: `UserError` for a size below 1, a stride that a window does not hold, or codes without places.

    Source: Esser, Rombach and Ommer 2021, Taming Transformers for High-Resolution Image Synthesis.
    """

    def __init__(
        self,
        model: Model,
        size: tuple[int, int],
        stride: int | None = None,
        options: Sampling = AS_LEARNED,
        batch: int = 32,
        progress: Callable[[int], None] = lambda codes: None,
        engine: Engine | None = None,
    ) -> None:
        if min(size) < 1:
            raise UserError(f"size {size[1]}×{size[0]} was given", "at least one pixel was expected")
        self.model, self.size, self.factor = model, size, model.tokenizer.config.factor
        self.engine = engine or model.engine()[0]
        self.options, self.batch, self.progress = options, batch, progress
        self.sees_all = self.engine.prior.sees_all_known
        self.window = model.grid.height, model.grid.width
        self.tiles = Tiles(model.tokenizer, self.window)
        self.stride = max(1, self.window[1] // 2) if stride is None else stride
        if not 1 <= self.stride <= min(self.window):
            raise UserError(
                f"stride {self.stride} was given", f"1 to {min(self.window)}, a window's side, was expected"
            )
        self.cells = tuple(
            max(side, math.ceil(n / self.factor)) for n, side in zip(size, self.window, strict=True)
        )
        self.shape = (*model.grid.shape[:-2], *self.cells)

    @property
    def length(self) -> int:
        """Codes of one picture."""
        return math.prod(self.shape)

    def sample(
        self, count: int, conditions: Conditions | None = None, seed: int = 0
    ) -> Float[Tensor, "count C H W"]:
        """New pictures: the middle of the drawn ones, where those are larger.

        Arguments:
            count: number of pictures.
            conditions: of each, see `Model.conditions`; every window has the same labels and captions, and
                of another picture's codes, `B *grid`, those that lie in it.
            seed: picture i is drawn with seed + i, whatever the batch.
        """
        return torch.cat(list(self.strips(self.codes(count, conditions, seed))), 2)

    @torch.no_grad()
    def codes(
        self, count: int, conditions: Conditions | None = None, seed: int = 0
    ) -> Int[Tensor, "B *grid"]:
        """The codes of new pictures; arguments see `sample`."""
        if count < 1:
            raise UserError(f"{count} pictures were asked for", "at least 1 was expected")
        empty = torch.full((count, *self.shape), -1, device=self.model.device)
        return self._filled(empty, conditions, seed, centred=False)

    def codes_of_ranks(
        self, count: int, conditions: Conditions | None = None, seed: int = 0
    ) -> Int[Tensor, "B *grid"]:
        """The codes of new pictures, each rank drawing its share and getting all; arguments see `sample`."""
        own, conditions = ranks.share(count), Conditions.of(conditions)
        codes = torch.zeros(0, *self.shape, dtype=torch.int64, device=self.model.device)
        if own:
            codes = self.codes(len(own), conditions.rows(slice(own.start, own.stop)), seed + own.start)
        return ranks.join(codes)

    def upscale(
        self, small: Float[Tensor, "B C h w"], conditions: Conditions | None = None, seed: int = 0
    ) -> Float[Tensor, "B C H W"]:
        """Pictures of the canvas's size drawn from smaller ones, each window conditioned on its part of them.

        Arguments:
            small: pictures, smaller than the canvas by the prior's factor.
            conditions: labels and captions.
            seed: picture i is drawn with seed + i.

        Errors: `UserError` for a prior that is not conditioned on smaller pictures, or for another size.
        """
        conditions = dataclasses.replace(Conditions.of(conditions), codes=self.small_codes(small))
        return self.sample(len(small), conditions, seed)

    @torch.no_grad()
    def small_codes(self, small: Float[Tensor, "B C h w"]) -> Int[Tensor, "B *grid"]:
        """Codes of the enlarged small pictures, edges continued to the canvas's own."""
        self.model.require_small_size()
        factor = self.model.prior.config.condition_factor
        given = tuple(side * factor for side in small.shape[-2:])
        if given != self.size:
            raise UserError(
                f"pictures that {factor} times enlarged have size {given} were given",
                f"{self.size}, the canvas's, was expected",
            )
        large = enlarged(small, factor)
        (top, left), more = self._margins(), [n * self.factor for n in self.cells]
        fill = [left, more[1] - self.size[1] - left, top, more[0] - self.size[0] - top]
        return self.tiles.encode(F.pad(large, fill, mode="replicate").to(self.model.device))

    def _margins(self) -> tuple[int, int]:
        """Pixels above and to the left of the picture that are drawn and cropped."""
        top, left = ((n * self.factor - s) // 2 for n, s in zip(self.cells, self.size, strict=True))
        return top, left

    def strips(self, codes: Int[Tensor, "B *grid"]) -> Iterator[Float[Tensor, "B C h W"]]:
        """The pictures of codes in strips from top to bottom: a higher picture takes no more memory."""
        (top, left), row = self._margins(), 0
        for strip in self.tiles.strips(codes):
            first, last = max(0, top - row), min(strip.shape[2], top + self.size[0] - row)
            row += strip.shape[2]
            if first < last:
                yield strip[:, :, first:last, left : left + self.size[1]].cpu()

    @torch.no_grad()
    def complete(
        self,
        pictures: Float[Tensor, "B C H W"],
        keep: Bool[Tensor, "H W"],
        conditions: Conditions | None = None,
        seed: int = 0,
    ) -> Float[Tensor, "B C H W"]:
        """Pictures of which a part is kept and the rest drawn, as `Model.complete` does at the model's size.

        A code is kept where all of its pixels are. The rest continues the kept codes to its left and above
        it; a prior that sees known codes wherever they lie continues them to all sides.

        Arguments:
            pictures: of the canvas's size; pixels outside of `keep` do not matter.
            keep: True where a pixel is given.
            conditions, seed: see `sample`.

        Errors: `UserError` where the pictures or the mask have another size, or nothing is kept.
        """
        codes = self._filled(self._known(pictures, keep), conditions, seed, centred=self.sees_all)
        height, width = self.size
        return self.tiles.decode(codes)[..., :height, :width].cpu()

    def _known(self, pictures: Tensor, keep: Tensor) -> Int[Tensor, "B *grid"]:
        """The kept codes, −1 elsewhere; only the smallest rectangle with all kept pixels is encoded."""
        if tuple(pictures.shape[-2:]) != self.size or tuple(keep.shape) != self.size:
            raise UserError(
                f"pictures of {tuple(pictures.shape[-2:])} and a mask of {tuple(keep.shape)} were given",
                f"{self.size} was expected of both",
            )
        if not keep.any():
            raise UserError("a mask that keeps nothing was given", remedy="use `sample` for whole pictures")
        f = self.factor
        fill = [0, self.cells[1] * f - self.size[1], 0, self.cells[0] * f - self.size[0]]
        mean = (pictures * keep).sum((2, 3), keepdim=True) / keep.sum()
        seen = mean + F.pad((pictures - mean) * keep, fill)
        kept = F.pad(keep[None].float(), fill)
        whole, touched = -F.max_pool2d(-kept, f)[0] > 0, F.max_pool2d(kept, f)[0] > 0
        rows, columns = _extent(touched.any(1)), _extent(touched.any(0))
        known = torch.full((len(pictures), *self.shape), -1, device=self.model.device)
        part = seen[..., rows.start * f : rows.stop * f, columns.start * f : columns.stop * f]
        known[..., rows, columns] = self.tiles.encode(part.to(self.model.device))
        return torch.where(whole.to(known.device), known, -1)

    def _filled(
        self, codes: Tensor, conditions: Conditions | None, seed: int, centred: bool
    ) -> Int[Tensor, "B *grid"]:
        """The codes, with those that are −1 drawn."""
        conditions = Conditions.of(conditions)
        if conditions.codes is not None and conditions.codes.shape[1:] != codes.shape[1:]:
            raise UserError(
                "another picture was given for a canvas",
                f"one with a code for each of the canvas's {tuple(codes.shape[1:])} was expected",
                "leave the picture or the size out",
            )
        block = (self.stride if self.sees_all else 1, self.stride)
        unknown = (codes < 0).cpu()
        for wave in plan(self.cells, self.window, block, centred):
            jobs = [
                (picture, block)
                for block in wave
                for picture in range(len(codes))
                if unknown[picture, ..., block.rows, block.columns].any()
            ]
            for start in range(0, len(jobs), self.batch):
                part = jobs[start : start + self.batch]
                self._draw(codes, part, conditions, seed)
                self.progress(sum(int(unknown[p, ..., b.rows, b.columns].sum()) for p, b in part))
        return codes

    def _draw(
        self, codes: Tensor, jobs: list[tuple[int, CanvasBlock]], conditions: Conditions, seed: int
    ) -> None:
        """Fills the blocks of some windows."""
        order, grid = self.model.order, self.model.grid
        windows = torch.stack([codes[(picture, ..., *block.window)] for picture, block in jobs])
        rows = conditions.rows(torch.tensor([picture for picture, _ in jobs])).to(codes.device)
        if conditions.codes is not None:
            parts = [conditions.codes[(picture, ..., *block.window)].flatten() for picture, block in jobs]
            rows = dataclasses.replace(rows, codes=torch.stack(parts).to(codes.device))
        seeds = [window_seed(seed + p, block.rows.start, block.columns.start) for p, block in jobs]
        known = order.flatten(windows, grid)
        rows = self.engine.prior.with_known(rows, windows)
        drawn = order.restore(sample(self.engine, rows, seeds, self.options, known=known), grid)
        for (picture, block), window in zip(jobs, drawn, strict=True):
            codes[picture, ..., block.rows, block.columns] = window[(..., *block.inside)]


def _extent(true: Bool[Tensor, "n"]) -> slice:
    """Range from the first true value to the last."""
    index = true.nonzero()
    return slice(int(index.min()), int(index.max()) + 1)
