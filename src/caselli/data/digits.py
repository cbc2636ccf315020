"""Handwritten digits from scikit-learn."""

from __future__ import annotations

import torch

from caselli.data.pictures import Pictures, label_table
from caselli.data.source import Request, Source, fitted
from caselli.errors import MissingExtra


class Digits(Source):
    """1,797 handwritten digits of 8 × 8 pixels, white on black, as they come with scikit-learn.

    Source: E. Alpaydin and C. Kaynak, 1998, Optical Recognition of Handwritten Digits.
    """

    expected = "'digits' (scikit-learn's handwritten digits)"

    @staticmethod
    def accepts(source: str) -> bool:
        return source == "digits"

    @staticmethod
    def open(source: str, request: Request) -> Pictures:
        try:
            from sklearn.datasets import load_digits
        except ImportError:
            raise MissingExtra("the source 'digits'", "scikit-learn", "digits") from None
        digits = load_digits()
        pixels = torch.from_numpy(digits.images).mul(255 / 16).round().to(torch.uint8)[:, None]
        names = [f"digits/{i:06}" for i in range(len(pixels))]
        classes, labels = label_table(digits.target.tolist())
        return Pictures.of("digits", fitted(pixels, request), names, classes=classes, labels=labels)
