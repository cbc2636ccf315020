"""Slow, obvious loops of the attention family's methods: one token, one sum at a time."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def heads_of(x, heads):
    """`B T E` → `B T N d`."""
    return x.unflatten(2, (heads, -1))


def softmax_sum(q, keys, values):
    """One query `d` over a list of keys and values."""
    scores = torch.stack([q @ k for k in keys]) * q.shape[-1] ** -0.5
    return sum(w * v for w, v in zip(scores.softmax(0), values, strict=True))


def masked_softmax_mixer(mixer, x, sees):
    """Without positions: `sees(head, t, s)` says whom token t looks at."""
    q = heads_of(mixer.query(x), mixer.heads)
    k, v = mixer.key_value(x).unflatten(2, (2, mixer.kv_heads, -1)).unbind(2)
    outputs = torch.empty_like(q)
    for b in range(len(x)):
        for t in range(x.shape[1]):
            for h in range(mixer.heads):
                group = h * mixer.kv_heads // mixer.heads
                seen = [s for s in range(x.shape[1]) if sees(h, t, s)]
                keys, values = k[b, :, group], v[b, :, group]
                outputs[b, t, h] = softmax_sum(q[b, t, h], [keys[s] for s in seen], [values[s] for s in seen])
    return mixer.output(outputs.flatten(2))


def linformer(mixer, x):
    q = heads_of(mixer.query(x), mixer.heads)
    k, v = mixer.key_value(x).unflatten(2, (2, mixer.heads, -1)).unbind(2)
    length = x.shape[1]
    outputs = torch.empty_like(q)
    for b in range(len(x)):
        for h in range(mixer.heads):
            keys = mixer.key_mixture[:, :length] @ k[b, :, h]
            values = mixer.value_mixture[:, :length] @ v[b, :, h]
            for t in range(length):
                outputs[b, t, h] = softmax_sum(q[b, t, h], keys, values)
    return mixer.output(outputs.flatten(2))


def reformer(mixer, x):
    """Without positions: the others of a token's buckets, itself where there is none."""
    q, v = heads_of(mixer.query_key(x), mixer.heads), heads_of(mixer.value(x), mixer.heads)
    outputs = torch.empty_like(q)
    for b in range(len(x)):
        for h in range(mixer.heads):
            keys = F.normalize(q[b, :, h], dim=-1)
            turned = torch.einsum("td,rdh->trh", q[b, :, h], mixer.rotations[h])
            buckets = torch.cat((turned, -turned), -1).argmax(-1)
            for t in range(x.shape[1]):
                seen = [s for s in range(t) if (buckets[s] == buckets[t]).any()] or [t]
                outputs[b, t, h] = softmax_sum(
                    q[b, t, h], [keys[s] for s in seen], [v[b, s, h] for s in seen]
                )
    return mixer.output(outputs.flatten(2))


def performer(mixer, x):
    """Without positions and without the shifts that cancel."""
    q = heads_of(mixer.query(x), mixer.heads)
    k, v = mixer.key_value(x).unflatten(2, (2, mixer.heads, -1)).unbind(2)

    def phi(z, h):
        z = z / z.shape[-1] ** 0.25
        return torch.exp(mixer.features[h] @ z - z @ z / 2)

    outputs = torch.empty_like(q)
    for b in range(len(x)):
        for h in range(mixer.heads):
            for t in range(x.shape[1]):
                weights = torch.stack([phi(q[b, t, h], h) @ phi(k[b, s, h], h) for s in range(t + 1)])
                total = sum(w * v[b, s, h] for s, w in enumerate(weights))
                outputs[b, t, h] = total / weights.sum()
    return mixer.output(outputs.flatten(2))


def gated_parts(mixer, x):
    """v, gate, and the rows γ ⊙ z + β."""
    v, gate, z = F.silu(mixer.input(x)).split((mixer.value_width, mixer.value_width, mixer.key_width), -1)
    return v, gate, [z * gamma + beta for gamma, beta in zip(mixer.gamma, mixer.beta, strict=True)]


def squared_relu(score):
    return score.clamp_min(0) ** 2


def gau(mixer, x):
    """Without positions; normalisation "mean" or "length"."""
    v, gate, (q, k) = gated_parts(mixer, x)
    outputs = torch.empty_like(v)
    for b in range(len(x)):
        for t in range(x.shape[1]):
            seen = range(t + 1 if mixer.causal else x.shape[1])
            scores = [q[b, t] @ k[b, s] for s in seen]
            if mixer.normalisation == "mean":
                weights = [squared_relu(score / mixer.key_width**0.5) / len(seen) for score in scores]
            else:
                weights = [squared_relu(score / len(seen)) for score in scores]
            outputs[b, t] = sum(w * v[b, s] for s, w in zip(seen, weights, strict=True))
    return mixer.output(gate * outputs)


def flash(mixer, x):
    """Without positions; normalisation "length"."""
    v, gate, (q, linear_q, k, linear_k) = gated_parts(mixer, x)
    outputs = torch.empty_like(v)
    size, length = mixer.group, x.shape[1]
    for b in range(len(x)):
        for t in range(length):
            first = t // size * size
            last = t + 1 if mixer.causal else min(first + size, length)
            near = sum(squared_relu(q[b, t] @ k[b, s] / size) * v[b, s] for s in range(first, last))
            summed = range(first if mixer.causal else length)
            far = sum((linear_q[b, t] @ linear_k[b, s] * v[b, s] for s in summed), torch.zeros_like(v[b, 0]))
            outputs[b, t] = near + far / max(1, len(summed))
    return mixer.output(gate * outputs)
