"""The pipeline that a person puts together in an hour from well-kept packages: the race's opponent.

A residual autoencoder with the quantizer of `vector-quantize-pytorch`, then GPT-2 of `transformers` over the
codes; AdamW, cosine schedules and bfloat16 autocast in both. Its learning rates, width and share of the time
were tuned once on photographs at 15 minutes of one core; docs/race.md has the figures.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from caselli.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class PeersConfig:
    """Sizes and rates of the pipeline."""

    width: int = 32
    latent_width: int = 64
    codebook_size: int = 1024
    factor: int = 4
    dead_below: float = 0.1
    """Uses a step, on average, below which a code is replaced; the package's usual 2 replaces half of them
    in every step of 32 pictures, and never settles."""
    first_share: float = 0.35
    first_rate: float = 1e-3
    first_batch: int = 32
    prior_width: int = 128
    prior_depth: int = 4
    prior_rate: float = 3e-3
    prior_batch: int = 64


class Residual(nn.Module):
    """Two convolutions beside a way round."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Autoencoder(nn.Module):
    """Strided convolutions and residual blocks around `VectorQuantize`."""

    def __init__(self, config: PeersConfig, channels: int) -> None:
        from vector_quantize_pytorch import VectorQuantize

        super().__init__()
        width, halvings = config.width, int(math.log2(config.factor))
        down: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1)]
        up: list[nn.Module] = [nn.Conv2d(config.latent_width, 2 * width, 3, padding=1), Residual(2 * width)]
        for level in range(halvings):
            inputs = width if level == 0 else 2 * width
            down += [nn.Conv2d(inputs, 2 * width, 4, 2, 1), Residual(2 * width)]
            outputs = width if level == halvings - 1 else 2 * width
            up += [nn.Upsample(scale_factor=2), nn.Conv2d(2 * width, outputs, 3, padding=1)]
            up += [Residual(outputs)]
        down += [nn.GroupNorm(8, 2 * width), nn.SiLU(), nn.Conv2d(2 * width, config.latent_width, 1)]
        up += [nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1)]
        self.encoder, self.decoder = nn.Sequential(*down), nn.Sequential(*up)
        self.quantizer = VectorQuantize(
            config.latent_width,
            config.codebook_size,
            accept_image_fmap=True,
            kmeans_init=True,
            threshold_ema_dead_code=config.dead_below,
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        quantized, _, loss = self.quantizer(self.encoder(x))
        return self.decoder(quantized), loss.sum()

    def encode(self, x: Float[Tensor, "B C H W"]) -> Int[Tensor, "B T"]:
        """The pictures' codes, row by row."""
        return self.quantizer(self.encoder(x))[1].flatten(1)

    def decode(self, codes: Int[Tensor, "B T"]) -> Float[Tensor, "B C H W"]:
        """The codes' pictures."""
        side = math.isqrt(codes.shape[1])
        latents = self.quantizer.get_output_from_indices(codes.unflatten(1, (side, side)))  # B D H W
        return self.decoder(latents).float().clamp(-1, 1)


@dataclasses.dataclass(frozen=True)
class Trained:
    """The pipeline after its training."""

    autoencoder: Autoencoder
    prior: nn.Module
    codebook_size: int
    length: int

    @torch.no_grad()
    def sample(self, labels: Int[Tensor, "n"], seed: int = 0) -> Float[Tensor, "n C H W"]:
        """A picture for each label, by `generate`."""
        torch.manual_seed(seed)
        made = []
        for part in labels.split(100):
            start = (part + self.codebook_size)[:, None]
            found = self.prior.generate(
                start,
                attention_mask=torch.ones_like(start),
                max_new_tokens=self.length,
                min_new_tokens=self.length,
                do_sample=True,
                top_k=0,
                suppress_tokens=list(range(self.codebook_size, self.prior.config.vocab_size)),
                pad_token_id=self.codebook_size,
            )
            made.append(self.autoencoder.decode(found[:, 1:]))
        return torch.cat(made)

    @torch.no_grad()
    def reconstruct(self, pictures: Float[Tensor, "n C H W"]) -> Float[Tensor, "n C H W"]:
        """Pictures through the codes."""
        return torch.cat([self.autoencoder.decode(self.autoencoder.encode(x)) for x in pictures.split(100)])


def train(
    pictures: Float[Tensor, "n C H W"],
    labels: Int[Tensor, "n"],
    minutes: float,
    config: PeersConfig = PeersConfig(),
    seed: int = 0,
) -> Trained:
    """The pipeline, trained in a wall-clock budget."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    autoencoder = Autoencoder(config, pictures.shape[1])

    def first_loss() -> Tensor:
        x = pictures[torch.randint(len(pictures), (config.first_batch,), generator=generator)]
        y, commitment = autoencoder(x)
        return F.mse_loss(y.float(), x) + commitment.float()

    autoencoder = _fit(autoencoder, first_loss, config.first_rate, 60 * minutes * config.first_share)
    with torch.no_grad():
        codes = torch.cat([autoencoder.encode(x) for x in pictures.split(200)])
    sequences = torch.cat([(labels + config.codebook_size)[:, None], codes], 1)
    prior = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.codebook_size + int(labels.max()) + 1,
            n_positions=sequences.shape[1],
            n_embd=config.prior_width,
            n_layer=config.prior_depth,
            n_head=max(1, config.prior_width // 64),
            bos_token_id=None,
            eos_token_id=None,
        )
    )

    def second_loss() -> Tensor:
        batch = sequences[torch.randint(len(sequences), (config.prior_batch,), generator=generator)]
        return prior(batch, labels=batch).loss

    prior = _fit(prior, second_loss, config.prior_rate, 60 * minutes * (1 - config.first_share))
    return Trained(autoencoder, prior, config.codebook_size, codes.shape[1])


def _fit(network: nn.Module, loss: Callable[[], Tensor], rate: float, seconds: float) -> nn.Module:
    """A network trained for some seconds; its averaged twin."""
    optimiser = torch.optim.AdamW(network.parameters(), rate, betas=(0.9, 0.99), weight_decay=0.01)
    average, step, begin = copy.deepcopy(network), 0, time.perf_counter()
    network.train()
    while (spent := (time.perf_counter() - begin) / seconds) < 1:
        factor = min(1, (step + 1) / 50) * (1 + math.cos(math.pi * spent)) / 2
        for group in optimiser.param_groups:
            group["lr"] = rate * factor
        with torch.autocast("cpu", torch.bfloat16):
            value = loss()
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        step += 1
        with torch.no_grad():
            decay = min(0.995, (1 + step) / (10 + step))
            for mine, theirs in zip(average.parameters(), network.parameters(), strict=True):
                mine.lerp_(theirs, 1 - decay)
            for mine, theirs in zip(average.buffers(), network.buffers(), strict=True):
                mine.copy_(theirs)  # the codebook is an average already
    return average.eval()
