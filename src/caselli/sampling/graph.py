"""The engine for a GPU: the drawing of a whole batch recorded once, and replayed without Python."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch

from caselli.prior import Prior
from caselli.sampling.base import Engine, expect_served
from caselli.sampling.drawing import SeededDrawing
from caselli.sampling.eager import EagerEngine
from caselli.shapes import Tensor


class GraphRecorder(ABC):
    """Records the operations of a function on tensors, so that they can be replayed with other contents."""

    device: str
    """The kind of device that it serves."""

    @abstractmethod
    def record(self, function: Callable[..., None], tensors: Sequence[Tensor]) -> Callable[[], None]:
        """Runs `function(*tensors)`, which changes tensors in place; calling the result does it again."""


class CudaGraph(GraphRecorder):
    """A CUDA graph: all kernels of a drawing are launched at once."""

    device = "cuda"

    def record(self, function, tensors):
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph):
                function(*tensors)
        except RuntimeError:  # a step that asks the host cannot be captured, and leaves its own stream behind
            torch.cuda.set_stream(stream)
            torch.cuda.synchronize()
            raise
        return graph.replay


@dataclasses.dataclass(frozen=True)
class Recording:
    """A drawing of one shape: the buffers it reads and writes, and a function that repeats it."""

    drawing: SeededDrawing
    replay: Callable[[], None]

    def draw(self, drawing: SeededDrawing) -> None:
        """Fills the codes of another batch of the same shape."""
        for own, other in zip(_buffers(self.drawing), _buffers(drawing), strict=True):
            own.copy_(other)
        self.replay()
        drawing.codes.copy_(self.drawing.codes)
        drawing.progress((drawing.codes.shape[1] - drawing.first) * len(drawing.codes))


MOST_RECORDINGS = 4
"""Number of recordings that are kept, each with the memory of a whole drawing: of the first shapes that come
again."""


class GraphEngine(Engine):
    """Steps, guidance and drawing of a batch as one recording; no Python runs between codes.

    A shape's first batch is drawn step by step, and so is its second one, which is then recorded; the
    recording is tried on it, and serves those that follow: a shape that comes once is not worth recording.
    Where it gives other codes, or the device refuses to record, the shape is drawn step by step as before.

    Arguments:
        prior: the distribution, autoregressive.
        precision: its linear layers' weights are rounded to it, and kept as they are.
        recorder: how a drawing is recorded.

    Errors: `Unavailable` for another kind of prior, or another device than the recorder's.
    """

    def __init__(
        self, prior: Prior, precision: str = "float32", recorder: GraphRecorder | None = None
    ) -> None:
        self.recorder = recorder or CudaGraph()
        expect_served(self.refusal(prior, self.recorder.device))
        self.eager = EagerEngine(prior, precision)
        self.prior, self.precision = self.eager.prior, precision
        self.seen: set[tuple] = set()
        self.recordings: dict[tuple, Recording | None] = {}

    @staticmethod
    def refusal(prior: Prior, device: str = CudaGraph.device) -> str | None:
        if prior.straight() is not prior:  # other kinds decide on the host while they draw
            return f"no recording for a {prior.kind.replace('_', '-')} prior"
        if prior.offset.device.type != device:
            return f"drawings are recorded on {device} alone"
        return None

    @property
    def name(self) -> str:
        recorded = any(self.recordings.values())
        return "recorded steps" if recorded else self.eager.name

    @torch.no_grad()
    def draw(self, drawing: SeededDrawing) -> None:
        key = _shape_of(drawing)
        recording = self.recordings.get(key)
        if recording is not None:
            recording.draw(drawing)
            return
        again = key in self.seen and key not in self.recordings and len(self.recordings) < MOST_RECORDINGS
        self.seen.add(key)
        before = _copied(drawing)
        self.eager.draw(drawing)
        if again:
            self.recordings[key] = self._recorded(before, drawing.codes)

    def _recorded(self, drawing: SeededDrawing, wanted: Tensor) -> Recording | None:
        """A recording that gives the wanted codes; None where there is none."""
        own = _copied(drawing)
        try:
            replay = self.recorder.record(lambda *given: self.prior.draw(_over(own, given)), _buffers(own))
        except RuntimeError:
            return None
        recording, again = Recording(own, replay), _copied(drawing)
        recording.draw(again)
        return recording if torch.equal(again.codes, wanted) else None

    def bytes_per_step(self) -> int:
        return self.eager.bytes_per_step()


def _buffers(drawing: SeededDrawing) -> list[Tensor]:
    """The tensors of a drawing."""
    return [drawing.codes, drawing.uniform, *drawing.conditions.parts().values()]


def _over(drawing: SeededDrawing, given: Sequence[Tensor]) -> SeededDrawing:
    """The drawing over other tensors, in the order of `_buffers`."""
    codes, uniform, *parts = given
    conditions = type(drawing.conditions)(**dict(zip(drawing.conditions.parts(), parts, strict=True)))
    return dataclasses.replace(drawing, codes=codes, uniform=uniform, conditions=conditions)


def _shape_of(drawing: SeededDrawing) -> tuple:
    """Everything about a drawing but the contents of its tensors."""
    shapes = tuple((name, part.shape) for name, part in drawing.conditions.parts().items())
    return drawing.codes.shape, drawing.first, shapes, tuple(drawing.strengths), drawing.options


def _copied(drawing: SeededDrawing) -> SeededDrawing:
    """A copy with tensors of its own, without progress."""
    own = _over(drawing, [tensor.clone() for tensor in _buffers(drawing)])
    return dataclasses.replace(own, progress=lambda codes: None)
