"""The engine for a GPU: the drawing of a whole batch recorded once, and replayed without Python."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch

from caselli.prior.autoregressive import Autoregressive
from caselli.prior.base import Prior
from caselli.prior.drawing import Drawing
from caselli.sampling.base import Eager, Engine
from caselli.sampling.compile import Unavailable
from caselli.sampling.rounding import rounded
from caselli.shapes import Tensor


class Recorder(ABC):
    """Records what a function does to tensors, so that it can be done again with other contents."""

    device: str
    """The kind of device that it serves."""

    @abstractmethod
    def record(self, function: Callable[..., None], tensors: Sequence[Tensor]) -> Callable[[], None]:
        """What `function(*tensors)`, which changes tensors in place, does; called, it is done again."""


class CudaGraph(Recorder):
    """A CUDA graph: all kernels of a drawing are launched at once."""

    device = "cuda"

    def record(self, function, tensors):
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            function(*tensors)
        return graph.replay


@dataclasses.dataclass(frozen=True)
class Recording:
    """A drawing of one shape: the buffers it reads and writes, and how it is done again."""

    drawing: Drawing
    replay: Callable[[], None]

    def draw(self, drawing: Drawing) -> None:
        """The same with another batch's contents."""
        for own, other in zip(buffers(self.drawing), buffers(drawing), strict=True):
            own.copy_(other)
        self.replay()
        drawing.codes.copy_(self.drawing.codes)
        drawing.progress((drawing.codes.shape[1] - drawing.first) * len(drawing.codes))


MOST = 4
"""Recordings that are kept, each with the memory of a whole drawing: of the first shapes that come again."""


class Captured(Engine):
    """Steps, guidance and drawing of a batch as one recording; no Python runs between codes.

    A shape's first batch is drawn step by step, and so is its second one, which is then recorded; the
    recording is tried on it, and serves those that follow: what comes once is not worth recording. Where it
    gives other codes, or the device refuses to record, the shape is drawn step by step as before.

    Arguments:
        prior: the distribution, autoregressive.
        precision: the weights are rounded to it, and kept as they are.
        recorder: how a drawing is recorded.

    Errors: `Unavailable` for another kind of prior, or another device than the recorder's.
    """

    def __init__(self, prior: Prior, precision: str = "float32", recorder: Recorder | None = None) -> None:
        self.recorder = recorder or CudaGraph()
        if not isinstance(prior, Autoregressive):
            raise Unavailable(f"no recording for a {prior.kind.replace('_', '-')} prior")
        if prior.offset.device.type != self.recorder.device:
            raise Unavailable(f"drawings are recorded on {self.recorder.device} alone")
        self.prior, self.precision = rounded(prior, precision), precision
        self.eager = Eager(self.prior)
        self.seen: set[tuple] = set()
        self.recordings: dict[tuple, Recording | None] = {}

    @property
    def name(self) -> str:
        recorded = any(self.recordings.values())
        return "recorded steps" if recorded else self.eager.name

    @torch.no_grad()
    def draw(self, drawing: Drawing) -> None:
        key = shape_of(drawing)
        recording = self.recordings.get(key)
        if recording is not None:
            recording.draw(drawing)
            return
        again = key in self.seen and key not in self.recordings and len(self.recordings) < MOST
        self.seen.add(key)
        before = _copied(drawing)
        self.eager.draw(drawing)
        if again:
            self.recordings[key] = self._recorded(before, drawing.codes)

    def _recorded(self, drawing: Drawing, wanted: Tensor) -> Recording | None:
        """A recording that gives the wanted codes; None where there is no such."""
        own = _copied(drawing)
        try:
            replay = self.recorder.record(lambda *given: self.prior.draw(_over(own, given)), buffers(own))
        except RuntimeError:
            return None
        recording, again = Recording(own, replay), _copied(drawing)
        recording.draw(again)
        return recording if torch.equal(again.codes, wanted) else None

    def bytes_per_step(self) -> int:
        return self.eager.bytes_per_step()


def buffers(drawing: Drawing) -> list[Tensor]:
    """The tensors of a drawing."""
    return [drawing.codes, drawing.uniform, *drawing.conditions.parts().values()]


def _over(drawing: Drawing, given: Sequence[Tensor]) -> Drawing:
    """The drawing over other tensors, in the order of `buffers`."""
    codes, uniform, *parts = given
    conditions = type(drawing.conditions)(**dict(zip(drawing.conditions.parts(), parts, strict=True)))
    return dataclasses.replace(drawing, codes=codes, uniform=uniform, conditions=conditions)


def shape_of(drawing: Drawing) -> tuple:
    """All of a drawing but the contents of its tensors."""
    shapes = tuple((name, part.shape) for name, part in drawing.conditions.parts().items())
    return drawing.codes.shape, drawing.first, shapes, tuple(drawing.strengths), drawing.options


def _copied(drawing: Drawing) -> Drawing:
    """The same with tensors of its own, that tells nobody of its progress."""
    own = _over(drawing, [tensor.clone() for tensor in buffers(drawing)])
    return dataclasses.replace(own, progress=lambda codes: None)
