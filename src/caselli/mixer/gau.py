"""The gated attention unit: attention and the gated MLP in one, with a single head."""

from __future__ import annotations

from caselli.mixer.gated import QuadraticUnit


class GAU(QuadraticUnit):
    r"""The gated attention unit with weights that are averaged.

    .. math:: o_i = g_i \odot \frac1{n_i} \sum_j f\big(q_i \cdot k_j / \sqrt s\big)\, v_j

    with f = relu² or Laplace, and n_i the tokens that i sees (normalisation "mean"; the others are those of
    `caselli.mixer.gated.QuadraticUnit`).

    Arguments:
        width: E.
        normalisation: "mean", "length" or "constant".
        relative_bias: whether a score has a learned bias of its distance.
        options: as of `caselli.mixer.gated.GatedUnit`.

    Source: Hua et al. 2022, Transformer Quality in Linear Time.

    Example:
        >>> import torch
        >>> mixer = GAU(width=64, activation="laplace")
        >>> y, state = mixer(torch.zeros(2, 5, 64))
        >>> y.shape, state.values.shape
        (torch.Size([2, 5, 64]), torch.Size([2, 1, 5, 128]))
    """

    def __init__(
        self, width: int, *, normalisation: str = "mean", relative_bias: bool = False, **options
    ) -> None:
        super().__init__(width, normalisation=normalisation, relative_bias=relative_bias, **options)
