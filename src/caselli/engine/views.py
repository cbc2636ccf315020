"""Pictures of a training under way."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from caselli.files import atomic_write
from caselli.shapes import Float, Tensor


def save_views(rows: list[Float[Tensor, "n C H W"]], path: Path) -> None:
    """Writes rows of pictures in [−1, 1], pixel by pixel, as a PNG file."""
    sheet = torch.cat([torch.cat(list(row.detach().float().cpu()), 2) for row in rows], 1)
    pixels = sheet.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).movedim(0, 2).numpy()
    with atomic_write(path) as temporary:
        Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(temporary, "PNG")
