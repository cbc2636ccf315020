"""The legend of shape letters, and the array types that carry them.

====  =======================  ====  =======================
B     batch                    T     sequence length
C     picture channels         E     model width
H W   picture height, width    N     heads
D     latent width             K     codebook size
*S    any spatial axes         Q     codebooks
====  =======================  ====  =======================

`x: Float[Tensor, "B T E"]` says: a floating-point tensor of three axes. With jaxtyping installed (the `dev`
extra) the tests check every annotation when it is called; without it the annotations are only words.
"""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

try:
    from jaxtyping import Bool, Complex, Float, Int, Num, Shaped
except ImportError:

    class _Array:
        """Stands in for jaxtyping's types: keeps the words, checks nothing."""

        def __class_getitem__(cls, item: tuple[type, str]) -> object:
            return Annotated[item[0], item[1]]

    Bool = Complex = Float = Int = Num = Shaped = _Array

__all__ = ["Bool", "Complex", "Float", "Int", "Num", "Shaped", "Tensor"]
