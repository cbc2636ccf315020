"""Golden values: P = N(0, 1) against three Gaussians, with Q's mean and variance as keys."""

from __future__ import annotations

PAIRS = ((1.0, 1.0), (0.0, 4.0), (1.0, 4.0))

DENSITIES = {
    "kl": (0.5, 0.31814718, 0.44314718),
    "reverse_kl": (0.5, 0.80685282, 1.30685282),
    "jeffreys": (1.0, 1.125, 1.75),
    "jensen_shannon": (0.11142148, 0.09273338, 0.12817497),
    "squared_hellinger": (0.23500619, 0.21114562, 0.29838908),
    "pearson": (1.71828183, 0.51185789, 0.74402634),
    "total_variation": (0.38292492, 0.32267457, 0.39006566),
}
"""By name, for each pair."""

SAMPLES = {
    "wasserstein_1": (1.0, 0.79788456, 1.16663094),
    "wasserstein_2": (1.0, 1.0, 2.0),
    "energy": (0.54180658, 0.18311073, 0.53410532),
    "mmd": (0.17726763, 0.09418702, 0.15947048),
}
"""Population values of what is computed from samples."""

KWARGS = {"renyi": {"order": 0.7}, "alpha": {"order": 0.3}}
"""Settings that differ from the default ones in the laws."""
