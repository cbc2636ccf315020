"""Encoded pictures of any format → squares of uint8, in this process or in workers.

Workers run this room, which therefore imports Pillow and numpy alone: a worker starts in a tenth of a second
and never imports torch, nor the user's main module.
"""

from caselli.decoding.colours import GAMMA, own_colours
from caselli.decoding.depth import BY_PICTURE, WHITES, Whites, eight_bits, white_of
from caselli.decoding.opening import (
    EXTENSIONS,
    FORMATS,
    OPTIONAL,
    BadPicture,
    bad_if_broken,
    formats,
    has_signs,
    opened,
    oriented,
    with_scaled_key,
)
from caselli.decoding.picture import decode, digest, probe, upright
from caselli.decoding.worker import FRAME, NO_ROOM, OPERATIONS, Location, perform

__all__ = [
    "BY_PICTURE",
    "EXTENSIONS",
    "FORMATS",
    "FRAME",
    "GAMMA",
    "NO_ROOM",
    "OPERATIONS",
    "OPTIONAL",
    "WHITES",
    "BadPicture",
    "Location",
    "Whites",
    "bad_if_broken",
    "decode",
    "digest",
    "eight_bits",
    "formats",
    "has_signs",
    "opened",
    "oriented",
    "own_colours",
    "perform",
    "probe",
    "upright",
    "white_of",
    "with_scaled_key",
]
