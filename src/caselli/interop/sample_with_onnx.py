"""Draws pictures with onnxruntime and NumPy alone: python sample.py -n 16 --label A -o new.png"""

import argparse
import json
import struct
import zlib
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession

HERE = Path(__file__).parent
TOLD = json.loads((HERE / "programs.json").read_text(encoding="utf-8"))


def opened(name):
    return InferenceSession(str(HERE / name), providers=["CPUExecutionProvider"])


def uniform(seed, length):
    """Numbers in [0, 1) as torch's generator gives them on a CPU: 24 bits each of MT19937."""
    raw = np.random.RandomState(seed % 2**32).randint(0, 2**32, length, dtype=np.uint32)
    return (raw % 2**24).astype(np.float32) * np.float32(2**-24)


def draw(logits, noise, temperature, top_k):
    if temperature == 0:
        return logits.argmax(1)
    logits = logits / np.float32(temperature)
    if 0 < top_k < logits.shape[1]:
        logits = np.where(logits < np.sort(logits)[:, -top_k, None], -np.inf, logits)
    p = np.exp(logits - logits.max(1, keepdims=True))
    cumulated = (p / p.sum(1, keepdims=True)).astype(np.float64).cumsum(1)
    return np.minimum((cumulated <= (noise * cumulated[:, -1])[:, None]).sum(1), p.shape[1] - 1)


def sample(labels, seed=0, temperature=1.0, top_k=0, guidance=1.0):
    """Codes of a picture for each label (-1 for none), picture i by seed + i: those of `caselli sample`."""
    told, count = TOLD["prior"], len(labels)
    rows = [*labels, *[-1] * count] if guidance != 1 else labels
    given = {k: np.full((len(rows), *v["shape"]), v["nothing"]) for k, v in told["conditions"].items()}
    places, *state = opened(told["begin"]).run(None, given | {"labels": np.array(rows)})
    step = opened(told["step"])
    noise = np.stack([uniform(seed + i, told["slots"]) for i in range(count)])
    grid, last = np.zeros((count, told["slots"]), np.int64), np.zeros(len(rows), np.int64)
    for place in range(told["before"] - 1 + told["slots"]):
        state = {f"state_{number}": tensor for number, tensor in enumerate(state)}
        given = {"codes": last, "place": np.array(place), "vector": places[:, place]}
        logits, *state = step.run(None, given | state)
        if (slot := place - told["before"] + 1) >= 0:
            if guidance != 1:
                one, none = logits[:count], logits[count:].clip(min=-1e30)
                logits = np.where(np.isneginf(one), one, none + np.float32(guidance) * (one - none))
            codes = draw(logits, noise[:, slot], temperature, top_k) - told["first_entries"][slot]
            grid[:, told["cells"][slot]], last = codes, np.resize(codes, len(rows))
    return grid.reshape(count, *TOLD["codes"]["shape"][1:])


def save_png(pictures, path, columns=8):
    pictures = [*pictures, *[np.ones_like(pictures[0])] * (-len(pictures) % columns)]
    rows = [np.concatenate(pictures[i : i + columns], 2) for i in range(0, len(pictures), columns)]
    sheet = np.rint((np.concatenate(rows, 1).transpose(1, 2, 0) + 1) * 127.5).astype(np.uint8)
    kind = struct.pack(">IIBBBBB", *sheet.shape[1::-1], 8, sheet.shape[2] - 1, 0, 0, 0)
    lines = zlib.compress(b"".join(b"\0" + line.tobytes() for line in sheet))
    whole = b"\x89PNG\r\n\x1a\n"
    for name, part in ((b"IHDR", kind), (b"IDAT", lines), (b"IEND", b"")):
        whole += struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
    Path(path).write_bytes(whole)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for option, default in (("n", 16), ("o", "new.png"), ("-label", ""), ("-seed", 0), ("-top-k", 0)):
        parser.add_argument(f"-{option}", type=type(default), default=default)
    for option in ("temperature", "guidance"):
        parser.add_argument(f"--{option}", type=float, default=1.0)
    asked = parser.parse_args()
    label = TOLD["prior"]["classes"].index(asked.label) if asked.label else -1
    codes = sample([label] * asked.n, asked.seed, asked.temperature, asked.top_k, asked.guidance)
    save_png(opened("decoder.onnx").run(None, {"codes": codes})[0], asked.o)
