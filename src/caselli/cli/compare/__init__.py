"""`caselli compare WHAT ...`: methods side by side, a table and a picture."""

from __future__ import annotations

import importlib

from caselli.errors import UnknownName

COMPARISONS = {
    "quantizers": "tokenizers that differ in their quantizer alone: rate, distortion, codebook use",
    "estimators": "bias, variance, direction and cost of gradient estimators",
    "autoencoders": "a VAE of binary latents trained with each gradient estimator",
    "divergences": "what a model of the plane leaves out under each divergence",
    "mixers": "tasks that tell sequence mixers apart: accuracy against length, time, memory, state",
    "resamplers": "ways up and down in size: checkerboards, aliasing, reconstruction, segmentation, cost",
    "priors": "samples of runs that differ in their prior, its bits, its rounds and its pace",
    "guidance": "agreement of samples with their label against diversity, at each strength",
    "codecs": "bytes against distortion: runs beside JPEG, WebP, AVIF, and PNG without loss",
    "slim": "a run and smaller ones made of it: bytes, bits per dimension, PSNR, pace",
    "reconstructions": "what several runs' tokenizers make of the same pictures",
}
"""What can be compared, with its line of help; the module of the same name has `run(arguments)`."""


def run(arguments: list[str]) -> None:
    """Hands over to what is compared."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return
    if arguments[0] not in COMPARISONS:
        raise UnknownName("comparison", arguments[0], COMPARISONS)
    importlib.import_module(f"caselli.cli.compare.{arguments[0]}").run(arguments[1:])


def _help() -> str:
    width = max(map(len, COMPARISONS))
    lines = [f"  {name:<{width}}  {line}" for name, line in COMPARISONS.items()]
    return "\n".join(["usage: caselli compare WHAT ...", "", *lines])
