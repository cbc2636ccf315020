"""Captions told apart by a model: each picture's own among others', against chance."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from caselli.data import Pictures, generator, to_float
from caselli.errors import UserError
from caselli.model import Model
from caselli.sampling import AS_LEARNED, Engine, Sampling
from caselli.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Where each picture's own partner ranks among several; 1 is the best, ties share their mean rank."""

    count: int
    """Pictures that were ranked."""
    among: int
    """Partners that each was ranked among, its own included."""
    mean_reciprocal_rank: float
    chance_reciprocal_rank: float
    median_rank: float
    chance_median_rank: float
    first: float
    """The share of pictures whose own partner ranks first."""
    chance_first: float
    deviations: float
    """Standard deviations by which the mean rank lies below that of chance, (among + 1) / 2."""

    @classmethod
    def of(cls, scores: Float[Tensor, "n N"]) -> Ranking:
        """From the scores of N partners of each picture, its own in column 0; the higher the better.

        Example:
            >>> ranking = Ranking.of(torch.tensor([[3.0, 1.0, 2.0], [2.0, 1.0, 3.0]]))
            >>> ranking.median_rank, ranking.mean_reciprocal_rank, ranking.first
            (1.5, 0.75, 0.5)
        """
        own, others = scores[:, :1], scores[:, 1:]
        ranks = (1 + (others > own).sum(1) + (others == own).sum(1) / 2).double()
        count, among = scores.shape
        spread = math.sqrt((among**2 - 1) / 12 / count)
        return cls(
            count=count,
            among=among,
            mean_reciprocal_rank=(1 / ranks).mean().item(),
            chance_reciprocal_rank=sum(1 / rank for rank in range(1, among + 1)) / among,
            median_rank=ranks.quantile(0.5).item(),
            chance_median_rank=(among + 1) / 2,
            first=(ranks == 1).double().mean().item(),
            chance_first=1 / among,
            deviations=((among + 1) / 2 - ranks.mean().item()) / max(spread, 1e-12),
        )


def candidates(count: int, among: int, seed: int = 0) -> Int[Tensor, "n N"]:
    """For each of n pictures itself, and N − 1 others drawn without replacement.

    Example:
        >>> candidates(5, 3).shape
        torch.Size([5, 3])
    """
    random = torch.rand(count, count, generator=generator("captions", seed))
    random.fill_diagonal_(-1)  # itself first
    return random.argsort(1)[:, :among]


def captioned(model: Model, pictures: Pictures) -> Pictures:
    """The pictures that have a caption.

    Errors: `UserError` for a model without captions, and where fewer than two pictures have one.
    """
    if model.require_prior().alphabet.text is None:
        raise UserError(
            "a model that was trained without captions was given", "one with captions was expected"
        )
    found = [i for i, caption in enumerate(pictures.captions or ()) if caption.strip()]
    if len(found) < 2:
        raise UserError(
            f"{pictures.name} has captions for {len(found)} pictures",
            "at least two were expected",
            "put a captions.csv with the columns file,caption into the folder, or NAME.txt beside NAME.png",
        )
    return pictures.subset(torch.tensor(found))


@torch.no_grad()
def rank_captions(
    model: Model,
    pictures: Pictures,
    among: int = 32,
    batch: int = 128,
    progress: Callable[[int], None] = lambda done: None,
) -> Ranking:
    r"""Held-out pictures rank captions by how probable each makes them.

    .. math:: \mathrm{score}(c) = \log p(\mathrm{codes}(x) \mid c)

    No picture is drawn: the figure says what the prior knows of captions, whatever it draws.

    Arguments:
        model: with a prior that reads captions.
        pictures: with captions.
        among: captions that each picture ranks, its own included.
        batch: pairs at a time.
        progress: told the number of pairs scored since it was last told.
    """
    pictures = captioned(model, pictures)
    among = min(among, len(pictures))
    chosen = candidates(len(pictures), among)
    text = model.require_prior().alphabet.text.encode(pictures.captions)
    codes = [model.encode(to_float(pictures.read(part))) for part in torch.arange(len(pictures)).split(batch)]
    sequence = model.order.flatten(torch.cat(codes), model.grid)
    told = model.conditions_of(pictures, torch.arange(len(pictures)))
    rows = torch.arange(len(pictures)).repeat_interleave(among)
    scores = []
    for row, column in zip(rows.split(batch), chosen.flatten().split(batch), strict=True):
        known = dataclasses.replace(told.rows(row), text=text[column].to(model.device))
        scores.append(model.prior.log_prob(sequence[row], known).sum(1).cpu())
        progress(len(row))
    return Ranking.of(torch.cat(scores).unflatten(0, (-1, among)))


@torch.no_grad()
def rank_pictures(
    model: Model,
    pictures: Pictures,
    features: Callable[[Float[Tensor, "B C H W"]], Float[Tensor, "B F"]],
    samples: int = 8,
    among: int | None = None,
    options: Sampling = AS_LEARNED,
    engine: Engine | None = None,
) -> Ranking:
    """Pictures drawn for held-out captions rank real pictures by how near they lie, in features that know
    nothing of captions.

    The score of a real picture is minus its mean distance to the samples of the caption, each real picture's
    distances first put on one scale: less their mean over all captions, over their standard deviation, as a
    picture that is near everything says nothing.

    Arguments:
        model: with a prior that reads captions.
        pictures: with captions.
        features: rows for pictures, such as `pooled_pixels`.
        samples: pictures drawn for each caption.
        among: real pictures that are ranked, the caption's own included; all of them by default.
        options: how they are drawn.
        engine: what computes the steps.
    """
    pictures = captioned(model, pictures)
    captions = [caption for caption in pictures.captions for _ in range(samples)]
    engine = engine or model.engine()[0]
    drawn = features(model.sample(len(captions), text=captions, seed=30_000, options=options, engine=engine))
    real = features(to_float(pictures.read(torch.arange(len(pictures)))))
    distance = torch.cdist(drawn.cpu().double(), real.cpu().double()).unflatten(0, (-1, samples)).mean(1)
    distance = (distance - distance.mean(0)) / distance.std(0).clamp_min(1e-12)
    chosen = candidates(len(pictures), among or len(pictures))
    return Ranking.of(-distance.gather(1, chosen))


def pooled_pixels(pictures: Float[Tensor, "B C H W"], side: int = 8) -> Float[Tensor, "B F"]:
    """The colours of a picture on a coarse grid.

    Example:
        >>> pooled_pixels(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 192])
    """
    return F.adaptive_avg_pool2d(pictures.float(), side).flatten(1)
