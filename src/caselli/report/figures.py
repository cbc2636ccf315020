"""The figures that a run may have: their names in words, their units, and how they are written."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any


def whole(value: float) -> str:
    """A count, thousands apart.

    Example:
        >>> whole(1234567.0)
        '1 234 567'
    """
    return f"{value:,.0f}".replace(",", " ")


def percent(value: float) -> str:
    """A share from 0 to 1, in hundredths.

    Example:
        >>> percent(0.9731)
        '97.3'
    """
    return f"{100 * value:.1f}"


def duration(value: float) -> str:
    """Seconds as a person says them.

    Example:
        >>> duration(42.0), duration(342.0), duration(7500.0)
        ('42 s', '5 min 42 s', '2 h 5 min')
    """
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def plain(value: float) -> str:
    """Four significant digits; whole numbers as they are.

    Example:
        >>> plain(0.0123456), plain(3.0)
        ('0.01235', '3')
    """
    return whole(value) if float(value).is_integer() and abs(value) < 1e15 else f"{value:.4g}"


def fixed(digits: int) -> Callable[[float], str]:
    """A fixed number of decimals."""
    return lambda value: f"{value:.{digits}f}"


@dataclasses.dataclass(frozen=True)
class Known:
    """How a figure is shown."""

    label: str
    unit: str = ""
    form: Callable[[float], str] = plain


FIGURES: dict[str, Known] = {
    "loss": Known("loss"),
    "psnr": Known("PSNR", "dB", fixed(2)),
    "ssim": Known("SSIM", "", fixed(3)),
    "ms_ssim": Known("MS-SSIM", "", fixed(3)),
    "lpips": Known("LPIPS", "", fixed(3)),
    "mean_iou": Known("mean intersection over union", "%", percent),
    "accuracy": Known("pixels right", "%", percent),
    "precision": Known("precision", "%", percent),
    "recall": Known("recall", "%", percent),
    "density": Known("density", "", fixed(2)),
    "coverage": Known("coverage", "%", percent),
    "codebook_use": Known("codebook use", "%", percent),
    "dead": Known("dead codes", "%", percent),
    "score_real": Known("the discriminator's score of pictures", "", fixed(2)),
    "score_fake": Known("the discriminator's score of reconstructions", "", fixed(2)),
    "discriminator_right": Known("places that the discriminator ranks rightly", "%", percent),
    "discriminator_doubt": Known("the discriminator's loss, of what guessing gives", "%", percent),
    "adversarial_weight": Known("weight of the adversarial term", "", fixed(3)),
    "perplexity": Known("perplexity of the codes", "", fixed(0)),
    "entropy_bits": Known("entropy of a code", "bits", fixed(2)),
    "codebook_size": Known("codebook size", "codes", whole),
    "codes_per_picture": Known("codes per picture", "", whole),
    "bits_per_picture": Known("bits per picture", "bits", whole),
    "bits_per_code": Known("bits per code", "bits", fixed(2)),
    "bits_per_dimension": Known("bits per dimension, exact pictures", "bits", fixed(3)),
    "bits_per_dimension_bound": Known("upper bound of bits per dimension", "bits", fixed(3)),
    "probe_accuracy": Known("labels read by a linear probe", "%", percent),
    "grey_levels": Known("grey levels of the pictures that are meant", "", whole),
    "rate_bits": Known("information in the latents", "bits", fixed(1)),
    "drawn_per_second": Known("pictures drawn per second", "", whole),
    "frechet": Known("Fréchet distance", "", fixed(1)),
    "classifier_frechet": Known("Fréchet distance of samples, classifier's features", "", fixed(1)),
    "prior_bits_per_picture": Known("bits per picture under the prior", "bits", fixed(1)),
    "prior_bits_per_dimension": Known("bits per dimension, codes under the prior", "bits", fixed(3)),
    "residual_bits_per_dimension": Known("bits per dimension, what codes leave out", "bits", fixed(3)),
    "compression_ratio": Known("compression ratio", "to 1", fixed(1)),
    "parameters": Known("parameters", "", whole),
    "steps": Known("steps", "", whole),
    "seconds": Known("time", "", duration),
    "pictures_per_second": Known("pictures per second", "", whole),
    "samples_per_second": Known("training samples per second", "", whole),
    "tokens_per_second": Known("codes sampled per second", "", whole),
    "read_as_asked": Known("samples read as the label asked for", "%", percent),
    "real_read_as_labelled": Known("real pictures read as their label", "%", percent),
    "read_share_of_real": Known("labels read, against real pictures", "%", percent),
    "samples_read": Known("samples read", "", whole),
    "pictures": Known("held-out pictures measured", "", whole),
    "count": Known("pictures", "", whole),
    "train": Known("for training", "", whole),
    "held_out": Known("held out", "", whole),
    "name": Known("name"),
    "size": Known("size"),
    "channels": Known("channels"),
    "classes": Known("classes"),
    "class_names": Known("names of the classes"),
    "fingerprint": Known("fingerprint"),
    "learning_rate": Known("learning rate"),
    "gradient_norm": Known("norm of the gradient"),
}
"""Every figure that has words of its own; others are shown under their name."""


def show(name: str, value: Any) -> tuple[str, str, str]:
    """(label, number, unit) of a figure, for people.

    Example:
        >>> show("psnr", 21.456)
        ('PSNR', '21.46', 'dB')
        >>> show("my_figure", "yes")
        ('my figure', 'yes', '')
    """
    known = FIGURES.get(name, Known(name.replace("_", " ")))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return known.label, _words(value), ""
    if not math.isfinite(value):
        return known.label, "not finite", ""
    return known.label, known.form(value), known.unit


def flat(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested figures by dotted name; lists of records and empty ones are left out.

    Example:
        >>> list(flat({"a": {"b": 1, "bad": [{"name": "x"}]}, "c": [1, 2]}))
        [('a.b', 1), ('c', [1, 2])]
    """
    for key, value in figures.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flat(value, f"{name}.")
        elif not isinstance(value, list) or (value and not any(isinstance(v, Mapping) for v in value)):
            yield name, value


def _words(value: Any) -> str:
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        words = [_words(item) for item in value[:24]]
        return ", ".join(words) + (f", … ({len(value)} in all)" if len(value) > 24 else "")
    return plain(value) if isinstance(value, int | float) and math.isfinite(value) else str(value)
