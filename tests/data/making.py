"""Small pictures and sets of them, made for the tests."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """uint8 `H W C`, or `H W` for one channel."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(image: Image.Image | np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    """A picture as the bytes of a file."""
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind, **options)
    return file.getvalue()


def raw_png(values: np.ndarray, depth: int, colour_type: int, key: tuple[int, ...] = ()) -> bytes:
    """A PNG of any depth and kind; Pillow writes few of them.

    Arguments:
        values: `H W` or `H W C`.
        depth: bits of a sample.
        colour_type: 0 grey, 2 colour, 4 grey and alpha, 6 colour and alpha.
        key: the transparent level or colour.
    """
    rows = values.reshape(len(values), -1)
    if depth == 16:
        lines = rows.astype(">u2").view(np.uint8)
    else:
        bits = np.unpackbits(rows.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth :]
        lines = np.packbits(bits.reshape(len(rows), -1), axis=-1)

    def chunk(name: bytes, content: bytes) -> bytes:
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, colour_type, 0, 0, 0)
    packed = zlib.compress(np.pad(lines, ((0, 0), (1, 0))).tobytes())
    parts = [chunk(b"IHDR", head), chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)) if key else b""]
    return b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IDAT", packed), chunk(b"IEND", b"")])


def raw_tiff(values: np.ndarray, **tags: int) -> bytes:
    """A TIFF of any numbers, with more tags or others, as `T339=2`.

    Arguments:
        values: `H W` or `H W C`.
    """
    height, width, *channels = values.shape
    bits, data = 8 * values.itemsize, values.astype(values.dtype.newbyteorder("<")).tobytes()
    known = {256: width, 257: height, 258: bits, 259: 1, 262: 2 if channels else 1, 273: 0, 277: 1}
    known |= {277: channels[0] if channels else 1, 278: height, 279: len(data)}
    known |= {339: {"u": 1, "i": 2, "f": 3}[values.dtype.kind]}
    known |= {int(name[1:]): value for name, value in tags.items()}
    many = {258, 281, 339} if channels else set()
    place, blobs, entries = 8 + 2 + 12 * len(known) + 4, b"", b""
    size = sum(8 * channels[0] for tag in known if tag in many)
    known[273] = place + size
    for tag, value in sorted(known.items()):
        entry = struct.pack("<HHII", tag, 4, 1, value)
        if tag in many:
            entry = struct.pack("<HHII", tag, 3, channels[0], place + len(blobs))
            blobs += struct.pack(f"<{channels[0]}H", *[value] * channels[0]).ljust(8 * channels[0], b"\0")
        entries += entry
    return struct.pack("<2sHIH", b"II", 42, 8, len(known)) + entries + b"\0" * 4 + blobs + data


def fill(folder: Path, names: list[str], side: int = 16, channels: int = 3, first: int = 0) -> Path:
    """Writes a PNG of noise under each name."""
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(noise(side, side, channels, seed=first + i)))
    return folder


def write_idx(path: Path, values: np.ndarray) -> Path:
    """An idx file of unsigned bytes, gzipped where the name says so."""
    header = bytes((0, 0, 8, values.ndim)) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    data = header + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def decoders_alive(parent: int) -> list[int]:
    """The decoding processes that a process has started and that still run."""
    alive = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, above = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if (
            state != "Z"
            and b"caselli/decoding/worker.py" in command
            and int(above) in (parent, 1, os.getpid())
        ):
            alive.append(int(entry.name))
    return alive


def write_arrow(folder: Path, features: dict[str, dict], shards: list[list[dict]]) -> Path:
    """A set as `Dataset.save_to_disk` writes it: a shard for each list of rows, in batches of three."""
    import pyarrow

    folder.mkdir(parents=True)
    names = [f"data-{i:05}-of-{len(shards):05}.arrow" for i in range(len(shards))]
    image = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    for name, rows in zip(names, shards, strict=True):
        known = pyarrow.Table.from_pylist(rows).schema
        types = [(f, image if features[f]["_type"] == "Image" else known.field(f).type) for f in features]
        table = pyarrow.Table.from_pylist(rows, pyarrow.schema(types))
        with pyarrow.ipc.new_stream(folder / name, table.schema) as writer:
            writer.write_table(table, max_chunksize=3)
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    return folder
