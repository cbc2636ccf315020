"""Gradients past a quantizer, whose own derivative is zero: straight through, or rotated."""

from __future__ import annotations

import torch.nn.functional as F

from caselli.estimator import pass_straight_through
from caselli.shapes import Float, Tensor


def rotation(latents: Float[Tensor, "*n D"], quantized: Float[Tensor, "*n D"]) -> Float[Tensor, "*n D"]:
    r"""The quantized values as a rotation and scaling of the latents, both held constant.

    .. math::
        y = \frac{\lVert q\rVert}{\lVert z\rVert}\,\bigl(z - 2 w (w^\top z) + 2 \hat q (\hat z^\top z)\bigr),
        \qquad w = \frac{\hat z + \hat q}{\lVert \hat z + \hat q\rVert}

    so that gradients keep their angle to the latent, instead of being moved without turning. Not for
    quantizers that draw their codes at random.

    Source: Fifty et al. 2024, Restructuring Vector Quantization with the Rotation Trick.

    Example:
        >>> import torch
        >>> z = torch.tensor([[2.0, 0.0]], requires_grad=True)
        >>> y = rotation(z, torch.tensor([[0.0, 1.0]]))
        >>> y.sum().backward(torch.tensor(1.0))
        >>> z.grad
        tensor([[ 0.5000, -0.5000]])
    """
    fixed, q = latents.detach(), quantized.detach()
    z_length, q_length = (x.norm(dim=-1, keepdim=True) for x in (fixed, q))
    u, v = fixed / z_length.clamp_min(1e-6), q / q_length.clamp_min(1e-6)
    w = F.normalize(u + v, dim=-1, eps=1e-6)
    scale = q_length / z_length.clamp_min(1e-6)
    along = scale * (latents * w).sum(-1, keepdim=True), scale * (latents * u).sum(-1, keepdim=True)
    turned = scale * latents - 2 * along[0] * w + 2 * along[1] * v
    return pass_straight_through(turned, q)


GRADIENTS = {"straight_through": pass_straight_through, "rotation": rotation}
