"""Files of weights: safetensors with a description, packed in 8 and 4 bits, and the files of others."""

from caselli.weights.compression import UNCOMPRESSED, Compression, narrow, narrowed
from caselli.weights.digest import fingerprint, take_in
from caselli.weights.files import (
    load_weights,
    read_compression,
    read_config,
    read_description,
    save_weights,
)
from caselli.weights.foreign import (
    Checkpoint,
    Weights,
    read_checkpoint,
    read_foreign,
    settings_beside,
    widened,
)
from caselli.weights.integer import IntegerLinear, multiply_integers, rounded_rows
from caselli.weights.packing import AS_IT_IS, Packing, pack, rounded, smallest, snapped, unpack
from caselli.weights.published import fill, read_weights

__all__ = [
    "AS_IT_IS",
    "UNCOMPRESSED",
    "Checkpoint",
    "Compression",
    "IntegerLinear",
    "Packing",
    "Weights",
    "fill",
    "fingerprint",
    "load_weights",
    "multiply_integers",
    "narrow",
    "narrowed",
    "pack",
    "read_checkpoint",
    "read_compression",
    "read_config",
    "read_description",
    "read_foreign",
    "read_weights",
    "rounded",
    "rounded_rows",
    "save_weights",
    "settings_beside",
    "smallest",
    "snapped",
    "take_in",
    "unpack",
    "widened",
]
