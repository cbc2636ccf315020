"""Networks that are used as they are."""

from __future__ import annotations

from torch import nn


class Frozen(nn.Module):
    """A network in evaluation mode, whatever holds it, that is never trained."""

    def train(self, mode: bool = True) -> Frozen:
        """Stays in evaluation mode."""
        return super().train(False)

    def freeze(self) -> None:
        """Stops the training of all parameters; called at the end of `__init__`."""
        self.requires_grad_(False).eval()
