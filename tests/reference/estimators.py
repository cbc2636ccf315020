"""Slow, obvious estimators: one sample at a time, the formulas as they are printed."""

from __future__ import annotations

import itertools
import math

import torch


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def exact_bernoulli(f, logits):
    """∇ Σ_b p(b) f(b) by a loop over all states."""
    leaf = logits.detach().clone().requires_grad_()
    total = 0.0
    for state in itertools.product([0.0, 1.0], repeat=len(leaf)):
        b = torch.tensor(state, dtype=leaf.dtype)
        p = torch.prod(torch.where(b > 0, torch.sigmoid(leaf), 1 - torch.sigmoid(leaf)))
        total = total + p * f(b)
    return torch.autograd.grad(total, leaf)[0]


def score(f, logits, samples, baseline):
    """Σ (f - c) (b - σ) / S, with c from the other samples (`leave_one_out`, `optimal`) or 0 (`none`)."""
    total = torch.zeros_like(logits)
    for i, b in enumerate(samples):
        others = [z for j, z in enumerate(samples) if j != i]
        weights = [((z - torch.sigmoid(logits)) ** 2).sum() for z in others]
        c = {
            "none": lambda: 0.0,
            "leave_one_out": lambda o=others: sum(f(z) for z in o) / len(o),
            "optimal": lambda o=others, w=weights: sum(f(z) * v for z, v in zip(o, w, strict=True)) / sum(w),
        }[baseline]()
        total += (f(b) - c) * (b - torch.sigmoid(logits)) / len(samples)
    return total


def vimco(f, logits, samples):
    """Σ (L - L_{-i}) (b_i - σ), L the log of the mean of e^f."""
    values = [float(f(b)) for b in samples]
    bound = math.log(sum(map(math.exp, values)) / len(values))
    total = torch.zeros_like(logits)
    for i, b in enumerate(samples):
        others = values[:i] + values[i + 1 :]
        swapped = [*others, sum(others) / len(others)]
        total += (bound - math.log(sum(map(math.exp, swapped)) / len(values))) * (b - torch.sigmoid(logits))
    return total


def arm(f, logits, noise):
    """(f(b1) - f(b2)) (u - ½)."""
    total = torch.zeros_like(logits)
    for u in noise:
        first, second = (u > 1 - torch.sigmoid(logits)).to(u), (u < torch.sigmoid(logits)).to(u)
        total += (f(first) - f(second)) * (u - 0.5) / len(noise)
    return total


def disarm(f, logits, noise):
    """½ (f(b1) - f(b2)) (-1)^b2 1[b1 ≠ b2] σ(|φ|)."""
    total = torch.zeros_like(logits)
    for u in noise:
        first, second = (u > 1 - torch.sigmoid(logits)).to(u), (u < torch.sigmoid(logits)).to(u)
        sign = (-1) ** second * (first != second)
        total += (f(first) - f(second)) * sign * torch.sigmoid(logits.abs()) / (2 * len(noise))
    return total


def jacobian(q):
    """diag q - q qᵀ."""
    return torch.diag(q) - torch.outer(q, q)


def straight_through(f, logits, samples):
    """J(softmax θ) f'(D) of one categorical latent."""
    total = torch.zeros_like(logits)
    for hard in samples:
        slope = torch.func.grad(f)(hard)
        total += jacobian(torch.softmax(logits, -1)) @ slope / len(samples)
    return total


def reinmax(f, logits, samples, temperature):
    """2 J((softmax(θ/τ) + D) / 2) f'(D) - ½ J(softmax θ) f'(D) of one categorical latent."""
    total = torch.zeros_like(logits)
    for hard in samples:
        slope = torch.func.grad(f)(hard)
        middle = (torch.softmax(logits / temperature, -1) + hard) / 2
        step = 2 * jacobian(middle) @ slope - jacobian(torch.softmax(logits, -1)) @ slope / 2
        total += step / len(samples)
    return total


def rebar_bernoulli(f, logit, u, v, temperature, scale):
    """One estimate for one logit, in the variables of the paper: θ, u, and v' = v(1-θ) or vθ + 1-θ."""
    phi = torch.tensor(logit, dtype=torch.float64, requires_grad=True)
    theta = torch.sigmoid(phi)
    z = torch.logit(theta) + math.log(u / (1 - u))
    b = float(z > 0)
    primed = v * theta + (1 - theta) if b else v * (1 - theta)
    tilde = torch.logit(theta) + torch.log(primed / (1 - primed))
    c, c_tilde = (scale * f(torch.sigmoid(x / temperature)) for x in (z, tilde))
    slope, slope_tilde = (torch.autograd.grad(x, phi, retain_graph=True)[0] for x in (c, c_tilde))
    log_p = b * torch.log(theta) + (1 - b) * torch.log(1 - theta)
    s = torch.autograd.grad(log_p, phi)[0]
    return ((f(torch.tensor(b)) - c_tilde) * s + slope - slope_tilde).item()
