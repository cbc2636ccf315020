"""Scores of keys and queries that every token in between reflects: positions that the data decide."""

from __future__ import annotations

import torch

from caselli.shapes import Float, Tensor


def path_scores_definition(
    q: Float[Tensor, "B N T d"],
    k: Float[Tensor, "B N T d"],
    w: Float[Tensor, "B N T d"],
    beta: Float[Tensor, "B N T"],
) -> Float[Tensor, "B N T T"]:
    """`path_scores` of a whole sequence, factor by factor; zero above the diagonal."""
    length, rows = q.shape[2], []
    for t in range(length):
        moved, row = q[:, :, t], []
        for j in range(t, -1, -1):
            row.append((k[:, :, j] * moved).sum(-1))
            moved = moved - (beta[:, :, j] * (w[:, :, j] * moved).sum(-1))[..., None] * w[:, :, j]
        row = torch.stack(row[::-1], -1)
        rows.append(torch.cat((row, row.new_zeros(*row.shape[:-1], length - 1 - t)), -1))
    return torch.stack(rows, 2)


def path_scores(
    q: Float[Tensor, "B N T d"],
    k: Float[Tensor, "B M T d"],
    w: Float[Tensor, "B M T d"],
    beta: Float[Tensor, "B M T"],
    earlier: Float[Tensor, "B M R d"],
) -> tuple[Float[Tensor, "B N T S"], Float[Tensor, "B M S d"]]:
    r"""Scores along a path of Householder-like factors, S = R + T keys and T queries.

    .. math:: A_{tj} = k_j^\top \Big(\prod_{l=j+1}^{t} (I - \beta_l w_l w_l^\top)\Big) q_t

    The factors of T tokens are one triangular system (the UT transform). Keys are moved along the path to its
    end, and queries back to its beginning, so that old keys need one product each. Scores above the diagonal
    mean nothing.

    Arguments:
        q: queries of N heads.
        k, w, beta: keys, directions and strengths of M heads, M a divisor of N.
        earlier: keys of the tokens before, moved to the beginning.

    Returns:
        A, and all keys moved to the end.

    Source: Yang et al. 2025, PaTH Attention: Position Encoding via Accumulating Householder Transformations.

    Example:
        >>> q = k = w = torch.ones(1, 1, 2, 1)
        >>> path_scores(q, k, w, torch.full((1, 1, 2), 0.5), torch.zeros(1, 1, 0, 1))[0]
        tensor([[[[1.0000, 1.0000],
                  [0.5000, 1.0000]]]])
    """
    q = q.unflatten(1, (-1, q.shape[1] // k.shape[1]))  # `B M G T d`
    factors, strength = beta[..., None, :] * (w @ w.mT), beta[..., None, :]
    back = (strength[:, :, None] * (q @ w.mT[:, :, None])).tril()
    back = torch.linalg.solve_triangular(
        factors.tril(-1)[:, :, None], back, upper=False, left=False, unitriangular=True
    )
    inside = q @ k.mT[:, :, None] - back @ (w @ k.mT).tril(-1)[:, :, None]
    before = (q - back @ w[:, :, None]) @ earlier.mT[:, :, None]

    forth = torch.cat((strength * (earlier @ w.mT), (strength * (k @ w.mT)).triu(1)), 2)
    forth = torch.linalg.solve_triangular(factors.triu(1), forth, upper=True, left=False, unitriangular=True)
    return torch.cat((before, inside), -1).flatten(1, 2), torch.cat((earlier, k), 2) - forth @ w
