"""HiPPO: matrices, discretisations and memory against the published vectors and the signals themselves."""

from __future__ import annotations

import math

import pytest
import torch

from caselli.errors import UnknownName, UserError
from caselli.ops import hippo
from caselli.ops import hippo_measures as measures
from tests.reference.golden import golden

SIZES = (4, 8, 16)


def systems(size):
    return {
        "legs": hippo.legs(size),
        "legt": hippo.legt(size, window=2.0),
        "lagt": hippo.lagt(size),
        "fourier": hippo.fourier(size, window=2.0),
    }


def same(found, wanted, tolerance=1e-11):
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("size", SIZES)
def test_matrices(size):
    g = golden("09_hippo_matrices")
    for name, system in systems(size).items():
        same(system.a, g[f"out.{name}.N{size}.A"])
        same(system.b, g[f"out.{name}.N{size}.B"])


@pytest.mark.parametrize("size", SIZES)
def test_diagonal_plus_low_rank(size):
    """The published eigenvalues; and V (Λ − P P*) V* is the matrix again, so far as phases allow to see."""
    g, form = golden("09_hippo_matrices"), hippo.legs_diagonal_plus_low_rank(size)
    at = f"out.legs.N{size}.nplr_"
    same(form.eigenvalues, torch.complex(g[at + "W.re"], g[at + "W.im"]))
    same(form.p.abs(), g[at + "absP"][0])
    same(form.b.abs(), g[at + "absB"])
    same(form.p.conj() * form.b, torch.complex(g[at + "PconjB.re"], g[at + "PconjB.im"])[0])
    both = torch.cat((form.eigenvalues, form.eigenvalues.conj()))
    p = torch.cat((form.p, form.p.conj()))
    full = torch.linalg.eigvals(torch.diag(both) - p[:, None] * p.conj()).real.sort().values
    same(full, hippo.legs(size).a.diagonal().sort().values, 1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_further_measures(size):
    g = golden("09_hippo_matrices")
    for name in ("lmu", "legsd", "glagt", "fourier_decay", "fourier_diag"):
        system = getattr(measures, name)(size)
        same(system.a, g[f"out.{name}.N{size}.A"])
        same(system.b, g[f"out.{name}.N{size}.B"])
    with pytest.raises(UserError, match="alpha"):
        measures.glagt(size, alpha=1.0)
    with pytest.raises(UserError, match="even"):
        measures.fourier_diag(3)


@pytest.mark.parametrize("size", SIZES)
def test_corrections_make_normal(size):
    """The published P; A + Σ P Pᵀ commutes with its transpose; and its form in V."""
    g = golden("09_hippo_matrices")
    for name, system in systems(size).items():
        p, at = measures.correction(name, size), f"out.{name}.N{size}."
        same(p, g[at + "rank_correction_P"])
        normal = system.a + p.mT @ p
        same(normal @ normal.mT, normal.mT @ normal, 1e-9)
        if name in ("legs", "legt"):
            eigenvalues, p, b = measures.diagonal_plus_low_rank(system, p)
            same(eigenvalues, torch.complex(g[at + "nplr_W.re"], g[at + "nplr_W.im"]))
            same(p.abs(), g[at + "nplr_absP"])
            same(b.abs(), g[at + "nplr_absB"])
            same(p.conj() * b, torch.complex(g[at + "nplr_PconjB.re"], g[at + "nplr_PconjB.im"]))
    with pytest.raises(UnknownName, match="legs"):
        measures.correction("wavelet", size)


@pytest.mark.parametrize("method", ["bilinear", "zoh", "euler", "backward"])
@pytest.mark.parametrize("size", SIZES)
def test_discretisations(size, method):
    g, theirs = golden("09_hippo_discretise"), "backward_diff" if method == "backward" else method
    for name, system in systems(size).items():
        for step in (0.01, 0.1):
            key = f"out.{name}.N{size}.dt{step}.{theirs}_"
            if key + "A" in g:
                found = hippo.discretise(system, step, method)
                same(found.a, g[key + "A"])
                same(found.b, g[key + "B"])


@pytest.mark.parametrize("method", ["bilinear", "zoh", "euler", "backward"])
def test_memory_of_all_samples(method):
    g, theirs = golden("09_hippo_discretise"), {"euler": "forward"}.get(method, method)
    c = hippo.remember_all(g["in.f"], 6, method)
    same(c, g[f"out.legs_scale.{theirs}.c"])
    if method == "zoh":
        positions = torch.linspace(0, 1, 24, dtype=torch.float64)
        same(hippo.basis("legs", positions, 6), g["out.legs_scale.eval_matrix"])
        same(hippo.reconstruct(c[-1], "legs", positions), g["out.legs_scale.reconstruction_last_zoh"])


@pytest.mark.parametrize("name", ["legs", "legt", "fourier", "lagt"])
def test_a_signal_is_remembered(name):
    """The coefficients after the last sample give the signal back."""
    signal = lambda t: torch.sin(2 * math.pi * 0.7 * t) + 0.5 * torch.cos(2 * math.pi * t)  # noqa: E731
    end, samples = 3.0, 3000
    times = torch.arange(1, samples + 1, dtype=torch.float64) * end / samples
    x = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    if name == "legs":
        c, past = hippo.remember_all(signal(times[::10]), 20, "zoh"), x * end
    else:
        system = {"legt": hippo.legt(16), "fourier": hippo.fourier(64), "lagt": hippo.lagt(64)}[name]
        c = hippo.remember(signal(times), hippo.discretise(system, end / samples))
        past = end - 1 + x if name == "legt" else end - x
    error = hippo.reconstruct(c[-1], name, x) - signal(past)
    assert error.abs().max() < {"legs": 0.06, "legt": 0.01, "fourier": 0.06, "lagt": 0.1}[name]


def test_bad_input():
    with pytest.raises(UnknownName, match="bilinear"):
        hippo.discretise(hippo.legs(2), 0.1, "trapezoid")
    with pytest.raises(UserError, match="even"):
        hippo.fourier(3)
    with pytest.raises(UnknownName, match="legs"):
        hippo.basis("wavelet", torch.zeros(1), 2)
