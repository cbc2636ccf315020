"""Recurrences written from their formulas: one sequence of one head at a time, one token at a time."""

from __future__ import annotations

import torch
from torch import Tensor


def over_heads(recurrence, shared, *inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """A recurrence of `T …` inputs over every batch row and head of `B T N …`; `shared` is `N …`, or None."""
    rows, states = [], []
    for row in range(len(state)):
        outputs, lasts = [], []
        for head in range(state.shape[1]):
            own = () if shared is None else (shared[head],)
            y, last = recurrence(*(x[row, :, head] for x in inputs), state[row, head], *own)
            outputs.append(y)
            lasts.append(last)
        rows.append(torch.stack(outputs, 1))
        states.append(torch.stack(lasts))
    return torch.stack(rows), torch.stack(states)


def linear_attention(q, k, v, log_decay, state):
    outputs = []
    for t in range(len(q)):
        state = log_decay[t].exp() * state + torch.outer(k[t], v[t])
        outputs.append(state.T @ q[t])
    return torch.stack(outputs), state


def gated_linear_attention(q, k, v, log_decay, state):
    outputs = []
    for t in range(len(q)):
        state = torch.diag(log_decay[t].exp()) @ state + torch.outer(k[t], v[t])
        outputs.append(state.T @ q[t])
    return torch.stack(outputs), state


def linear_attention_with_bonus(q, k, v, log_decay, state, bonus):
    outputs = []
    for t in range(len(q)):
        pair = torch.outer(k[t], v[t])
        outputs.append((state + torch.diag(bonus) @ pair).T @ q[t])
        state = torch.diag(log_decay[t].exp()) @ state + pair
    return torch.stack(outputs), state


def delta_rule(q, k, v, beta, log_decay, state):
    outputs = []
    for t in range(len(q)):
        kept = torch.eye(len(k[t]), dtype=k.dtype) - beta[t] * torch.outer(k[t], k[t])
        state = log_decay[t].exp() * kept @ state + beta[t] * torch.outer(k[t], v[t])
        outputs.append(state.T @ q[t])
    return torch.stack(outputs), state


def delta_product(q, k, v, reads, log_decay, state):
    outputs = []
    for t in range(len(q)):
        for i in range(k.shape[1]):
            decay = log_decay[t].exp() if i == 0 else 1.0
            state = (decay * torch.eye(len(q[t]), dtype=q.dtype) - torch.outer(k[t, i], reads[t, i])) @ state
            state = state + torch.outer(k[t, i], v[t, i])
        outputs.append(state.T @ q[t])
    return torch.stack(outputs), state


def channel_delta_rule(q, k, v, reads, log_decay, state):
    return generalised_delta_rule(q, k, v, reads, -k, log_decay, state)


def generalised_delta_rule(q, k, v, a, b, log_decay, state):
    outputs = []
    for t in range(len(q)):
        transition = torch.diag(log_decay[t].exp()) + torch.outer(b[t], a[t])
        state = transition @ state + torch.outer(k[t], v[t])
        outputs.append(state.T @ q[t])
    return torch.stack(outputs), state


def selective_scan(x, delta, a, b, c, state):
    rows, states = [], []
    for row in range(len(x)):
        h, outputs = state[row], []
        for t in range(x.shape[1]):
            h = torch.exp(torch.einsum("d,ds->ds", delta[row, t], a)) * h
            h = h + torch.einsum("d,d,s->ds", delta[row, t], x[row, t], b[row, t])
            outputs.append(h @ c[row, t])
        rows.append(torch.stack(outputs))
        states.append(h)
    return torch.stack(rows), torch.stack(states)


def wkv(k, v, decay, bonus, numerator, denominator):
    """With plain sums, for keys of moderate size."""
    outputs = []
    for t in range(k.shape[1]):
        own = torch.exp(bonus + k[:, t])
        outputs.append((numerator + own * v[:, t]) / (denominator + own))
        numerator = torch.exp(-decay) * numerator + torch.exp(k[:, t]) * v[:, t]
        denominator = torch.exp(-decay) * denominator + torch.exp(k[:, t])
    return torch.stack(outputs, 1), numerator, denominator


def scan(decay, value, state):
    outputs = []
    for t in range(value.shape[1]):
        state = decay[:, t] * state + value[:, t]
        outputs.append(state)
    return torch.stack(outputs, 1)
