"""Published tokenizers as slow, plain functions of their state dictionaries, names and all.

Written from the papers' arithmetic. `Weights` invents what it is asked for the first time, so that one pass
over a picture makes a checkpoint of the right names and shapes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


class Weights(dict):
    """Name → tensor; unknown names get random weights of the shape asked for."""

    def ask(self, name, *shape):
        if name not in self:
            fan_in = max(1, torch.Size(shape[1:]).numel())
            self[name] = torch.randn(shape) * fan_in**-0.5
        assert self[name].shape == shape, name
        return self[name].double()


def conv(w, name, x, out, side, ends=("weight", "bias"), **options):
    weight = w.ask(f"{name}.{ends[0]}", out, x.shape[1], side, side)
    return F.conv2d(x, weight, w.ask(f"{name}.{ends[1]}", out), **options)


def norm(w, name, x, groups=32):
    batch, channels, height, width = x.shape
    grouped = x.reshape(batch, groups, -1)
    mean, variance = grouped.mean(2, keepdim=True), grouped.var(2, keepdim=True, correction=0)
    x = ((grouped - mean) / (variance + 1e-6).sqrt()).view(batch, channels, height, width)
    scale, shift = w.ask(f"{name}.weight", channels), w.ask(f"{name}.bias", channels)
    return x * scale[:, None, None] + shift[:, None, None]


def swish(x):
    return x / (1 + torch.exp(-x))


def residual(w, name, x, out):
    y = conv(w, f"{name}.conv1", swish(norm(w, f"{name}.norm1", x)), out, 3, padding=1)
    y = conv(w, f"{name}.conv2", swish(norm(w, f"{name}.norm2", y)), out, 3, padding=1)
    return y + (x if x.shape[1] == out else conv(w, f"{name}.nin_shortcut", x, out, 1))


def attention(w, name, x):
    batch, channels, height, width = x.shape
    y = norm(w, f"{name}.norm", x)
    q, k, v = (conv(w, f"{name}.{part}", y, channels, 1).flatten(2) for part in "qkv")
    scores = torch.einsum("bci,bcj->bij", q, k) / channels**0.5
    y = torch.einsum("bij,bcj->bci", scores.softmax(2), v).view(batch, channels, height, width)
    return x + conv(w, f"{name}.proj_out", y, channels, 1)


def level(w, names, x, out, blocks, attended):
    for block in range(blocks):
        x = residual(w, names["block"].format(block), x, out)
        if attended:
            x = attention(w, names["attention"].format(block), x)
    return x


def middle(w, names, x):
    x = residual(w, names[0], x, x.shape[1])
    return residual(w, names[2], attention(w, names[1], x), x.shape[1])


TAMING = {
    "down": "encoder.down.{}",
    "up": "decoder.up.{}",
    "block": ".block.{{}}",
    "mid": ("block_1", "attn_1", "block_2"),
    "reverse": True,
}
LLAMAGEN = {
    "down": "encoder.conv_blocks.{}",
    "up": "decoder.conv_blocks.{}",
    "block": ".res.{{}}",
    "mid": ("0", "1", "2"),
    "reverse": False,
}


def encode(w, family, x, widths, blocks, attended, latents):
    """`widths` and `attended` of each level, finest first; `latents` is (z channels, code channels)."""
    x = conv(w, "encoder.conv_in", x, widths[0], 3, padding=1)
    for i, out in enumerate(widths):
        place = family["down"].format(i)
        names = {"block": place + family["block"].replace("{{}}", "{}"), "attention": place + ".attn.{}"}
        x = level(w, names, x, out, blocks, attended[i])
        if i < len(widths) - 1:
            x = F.pad(x, (0, 1, 0, 1))
            x = conv(w, f"{place}.downsample.conv", x, out, 3, stride=2)
    x = middle(w, [f"encoder.mid.{name}" for name in family["mid"]], x)
    x = conv(w, "encoder.conv_out", swish(norm(w, "encoder.norm_out", x)), latents[0], 3, padding=1)
    return conv(w, "quant_conv", x, latents[1], 1)


def decode(w, family, z, widths, blocks, attended, latents):
    x = conv(w, "post_quant_conv", z, latents[0], 1)
    x = conv(w, "decoder.conv_in", x, widths[-1], 3, padding=1)
    x = middle(w, [f"decoder.mid.{name}" for name in family["mid"]], x)
    for i in reversed(range(len(widths))):
        place = family["up"].format(i if family["reverse"] else len(widths) - 1 - i)
        names = {"block": place + family["block"].replace("{{}}", "{}"), "attention": place + ".attn.{}"}
        x = level(w, names, x, widths[i], blocks + 1, attended[i])
        if i:
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
            x = conv(w, f"{place}.upsample.conv", x, widths[i], 3, padding=1)
    return conv(w, "decoder.conv_out", swish(norm(w, "decoder.norm_out", x)), 3, 3, padding=1)


def nearest(w, z, size, unit=False):
    """Codes and vectors by looking at every distance."""
    vectors = w.ask("quantize.embedding.weight", size, z.shape[1])
    points = z.movedim(1, -1)
    if unit:
        vectors = vectors / vectors.norm(dim=1, keepdim=True)
        points = points / points.norm(dim=-1, keepdim=True)
    codes = ((points[..., None, :] - vectors) ** 2).sum(-1).argmin(-1)
    return codes, vectors[codes].movedim(-1, 1)


def likeliest(w, z, size):
    """GumbelVQ without its noise."""
    codes = conv(w, "quantize.proj", z, size, 1).argmax(1)
    return codes, w.ask("quantize.embed.weight", size, z.shape[1])[codes].movedim(-1, 1)


def dalle_block(w, name, x, out, sides, gain):
    y = x
    for number, side in enumerate(sides, 1):
        inner = out if number == 4 else out // 4
        y = conv(w, f"{name}.res_path.conv_{number}", y.clamp_min(0), inner, side, "wb", padding=side // 2)
    skip = x if x.shape[1] == out else conv(w, f"{name}.id_path", x, out, 1, "wb")
    return skip + gain * y


def dalle_groups(w, half, x, widths, blocks, sides, resize):
    gain = 1 / (len(widths) * blocks) ** 2
    for group, out in enumerate(widths, 1):
        for block in range(1, blocks + 1):
            name = f"{half}.blocks.group_{group}.block_{block}"
            x = dalle_block(w, name, x, out, sides, gain)
        x = resize(x) if group < len(widths) else x
    return x.clamp_min(0)


def dalle(w, x, width, start, size, blocks):
    """Pictures in [0, 1] → codes, reconstructions in [0, 1]."""
    widths = [width, 2 * width, 4 * width, 8 * width]
    y = conv(w, "encoder.blocks.input", 0.8 * x + 0.1, width, 7, "wb", padding=3)
    y = dalle_groups(w, "encoder", y, widths, blocks, (3, 3, 3, 1), lambda y: F.max_pool2d(y, 2))
    codes = conv(w, "encoder.blocks.output.conv", y, size, 1, "wb").argmax(1)
    y = F.one_hot(codes, size).double().movedim(-1, 1)
    y = conv(w, "decoder.blocks.input", y, start, 1, "wb")
    larger = lambda y: y.repeat_interleave(2, 2).repeat_interleave(2, 3)  # noqa: E731
    y = dalle_groups(w, "decoder", y, widths[::-1], blocks, (1, 3, 3, 3), larger)
    statistics = conv(w, "decoder.blocks.output.conv", y, 6, 1, "wb")
    return codes, ((torch.sigmoid(statistics[:, :3]) - 0.1) / 0.8).clamp(0, 1)
