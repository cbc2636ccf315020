"""A learned set of vectors: its start by k-means, its moving averages, the restart of codes that died."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from caselli import ranks
from caselli.errors import UnknownName, UserError
from caselli.ops import nearest_code
from caselli.quantizer.base import count, widened
from caselli.shapes import Float, Int, Tensor

DISTANCES = ("euclidean", "cosine")
UPDATES = ("ema", "gradient")


class Codebook(nn.Module):
    r"""K vectors of width D, with the statistics of their use; the same on every rank.

    With `update="ema"` they are moving averages of the latents that chose them:

    .. math::
        N \leftarrow \gamma N + (1 - \gamma)\, n, \qquad m \leftarrow \gamma m + (1 - \gamma) \sum z, \qquad
        e = m \Big/ \frac{N + \epsilon}{\sum N + K \epsilon} \sum N

    with n and Σz summed over ranks; at step t the decay is min(γ, (1 + t) / (warmup + t)), because the
    latents move fast at first. With `update="gradient"` they are parameters. The arguments are those of `VQ`.

    Sources: van den Oord, Vinyals and Kavukcuoglu 2017, Neural Discrete Representation Learning; Zeghidour et
    al. 2021, SoundStream (k-means start, restart).
    """

    remedies = ("restart",)

    def __init__(
        self,
        size: int,
        width: int,
        *,
        distance: str,
        update: str,
        decay: float,
        warmup: int,
        epsilon: float,
        restart_threshold: float,
        kmeans_steps: int,
    ) -> None:
        super().__init__()
        if distance not in DISTANCES:
            raise UnknownName("distance", distance, DISTANCES)
        if update not in UPDATES:
            raise UnknownName("update", update, UPDATES)
        if not 1 <= size <= 1 << 30 or not 0 <= decay < 1 or min(warmup, restart_threshold, kmeans_steps) < 0:
            raise UserError(
                f"codebook_size {size}, decay {decay}, warmup {warmup}, "
                f"restart_threshold {restart_threshold}, kmeans_steps {kmeans_steps} were given",
                "a size from 1 to 2**30, a decay in [0, 1) and no negative number were expected",
            )
        self.distance, self.update = distance, update
        self.decay, self.warmup, self.epsilon = decay, warmup, epsilon
        self.restart_threshold = self.own_threshold = restart_threshold
        self.kmeans_steps = kmeans_steps
        vectors = self._placed(torch.randn(size, width))
        if update == "ema":
            self.register_buffer("vectors", vectors)
            self.register_buffer("sums", vectors.clone())
        else:
            self.vectors = nn.Parameter(vectors)
        self.register_buffer("counts", torch.ones(size))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("started", torch.tensor(kmeans_steps == 0))
        self._knows_started = False

    def adjust(self, restart: float, entropy: float) -> None:
        """Restarts codes that are used less than `restart` times the average, at least."""
        self.restart_threshold = max(self.own_threshold, restart)

    def values(self) -> Float[Tensor, "K D"]:
        """The vectors as they are looked up, in at least float32: on the unit sphere for cosine distance."""
        # in training the vectors change in place while a graph still needs those of now
        vectors = self.vectors.clone() if self.training else self.vectors
        return self._placed(widened(vectors))

    def prepare(self, latents: Float[Tensor, "n D"]) -> None:
        """Before the codes of a training batch are chosen: the start, or the restart of dead codes."""
        if not self._knows_started and not bool(self.started):
            self._start(latents)
        elif self.restart_threshold:
            self._restart(latents)
        self._knows_started = True  # so that later steps need not ask the device

    @torch.no_grad()
    def learn(self, latents: Float[Tensor, "n D"], codes: Int[Tensor, "n"]) -> None:
        """After they are chosen: one step of the moving averages."""
        step = self.step.to(self.counts.dtype)
        keep = ((1 + step) / (self.warmup + step)).clamp(max=self.decay)
        self.step += 1
        number = ranks.total(count(codes, len(self.counts))).to(self.counts.dtype)
        self.counts.lerp_(number, 1 - keep)
        if self.update == "ema":
            totals = ranks.total(_sums(latents, codes, len(self.counts)))
            self.sums.lerp_(totals.to(self.sums.dtype), 1 - keep)
            whole = self.counts.sum()
            smooth = (self.counts + self.epsilon) / (whole + len(self.counts) * self.epsilon) * whole
            self.vectors.copy_(self._placed(self.sums / smooth[:, None]))

    def dead(self) -> Tensor:
        """Which are used less than `restart_threshold` (without restarts, 0.01) times the average, `K`."""
        return self.counts < (self.restart_threshold or 0.01) * self.counts.mean()

    @torch.no_grad()
    def _start(self, latents: Tensor) -> None:
        """k-means on a sample of the ranks' latents; fewer than codes are used again, moved a little."""
        size = len(self.counts)
        found = draw(latents, 32 * size)
        vectors = found[torch.arange(size, device=found.device) % len(found)]
        if len(found) < size:
            noise = 0.01 * found.std(0, correction=0) * torch.randn_like(vectors)
            vectors = self._placed(vectors + ranks.from_first(noise))
        else:
            for _ in range(self.kmeans_steps):
                vectors = self._placed(_kmeans_step(found, vectors))
        self.vectors.copy_(ranks.from_first(vectors))
        self.counts.fill_(_everywhere(len(latents), latents.device).sum() / size)
        self._count_vectors_as_sums(torch.ones_like(self.counts, dtype=torch.bool))
        self.started.fill_(True)

    @torch.no_grad()
    def _restart(self, latents: Tensor) -> None:
        """Puts dead codes on latents of this batch, with the count of an average code."""
        dead = self.dead()
        # on one GPU asking costs more than doing; among ranks, whose counts agree, doing costs more
        if (dead.device.type == "cpu" or ranks.count() > 1) and not dead.any():
            return
        found = draw(latents, len(dead))
        turn = (dead.cumsum(0) - 1).clamp_min(0) % len(found)
        self.vectors.copy_(torch.where(dead[:, None], found[turn], self.vectors))
        self.counts.copy_(torch.where(dead, self.counts.mean(), self.counts))
        self._count_vectors_as_sums(dead)

    def _count_vectors_as_sums(self, which: Tensor) -> None:
        if self.update == "ema":
            self.sums.copy_(torch.where(which[:, None], self.vectors * self.counts[:, None], self.sums))

    def _placed(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=-1, eps=1e-6) if self.distance == "cosine" else vectors

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._knows_started = False


@torch.no_grad()
def draw(latents: Float[Tensor, "n D"], number: int) -> Float[Tensor, "m D"]:
    """At most `number` of all ranks' latents, without repetition, the same on every rank.

    They are those that one rank with the joined batch would draw.
    """
    lengths = _everywhere(len(latents), latents.device)
    if len(lengths) == 1:
        return latents[torch.randperm(len(latents), device=latents.device)[:number]]
    order = ranks.from_first(torch.randperm(int(lengths.sum()), device=latents.device))[:number]
    here = order - lengths[: ranks.rank()].sum()
    mine = (here >= 0) & (here < len(latents))
    return ranks.total(torch.where(mine[:, None], latents[here.clamp(0, len(latents) - 1)], 0))


def _everywhere(length: int, device: torch.device) -> Tensor:
    return ranks.gather(torch.tensor([length], device=device))


def _sums(latents: Tensor, codes: Tensor, size: int) -> Tensor:
    return latents.new_zeros(size, latents.shape[1]).index_add_(0, codes, latents)


def _kmeans_step(latents: Tensor, vectors: Tensor) -> Tensor:
    """Means of the nearest latents; a vector without any moves to one of the latents."""
    codes = nearest_code(latents, vectors)
    number = count(codes, len(vectors))[:, None]
    means = _sums(latents, codes, len(vectors)) / number.clamp_min(1)
    return torch.where(number > 0, means, latents[: len(vectors)].flip(0)).to(latents.dtype)
