"""Files of the codec that an earlier version wrote (commit 25559fc): they are read, and written alike."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from caselli.codec import parse
from tests.test_codec import codec_of

pytest.importorskip("constriction")
GOLDEN = Path(__file__).parent / "golden" / "codec"
KINDS = ["codes", "exact"]


@pytest.fixture(scope="module")
def codec():
    return codec_of(GOLDEN / "run")


@pytest.fixture(scope="module")
def pictures():
    """What the earlier version decoded, by kind and name."""
    return load_file(GOLDEN / "pictures.safetensors")


def decoded(codec, path):
    archive = parse(path.read_bytes())
    codec.check(archive)
    found = [picture for stack in codec.decompress(archive.groups) for picture in stack]
    return dict(zip(archive.names or [path.stem], found, strict=True))


def alike(kind, found, expected):
    """Pixels of the kind `exact`; a reconstruction in float32 may round otherwise by one level."""
    if kind == "exact":
        return torch.equal(found, expected)
    return (found.int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_is_read(codec, pictures, kind):
    found = decoded(codec, GOLDEN / f"{kind}.csl")
    assert {f"{kind}/{name}" for name in found} == {name for name in pictures if name.startswith(kind)}
    assert all(alike(kind, picture, pictures[f"{kind}/{name}"]) for name, picture in found.items())


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*/*.[cp][sn][lg]")), ids=lambda path: path.stem)
def test_a_file_of_one_picture_is_read(codec, pictures, path):
    kind = path.parent.name
    ((name, picture),) = decoded(codec, path).items()
    assert alike(kind, picture, pictures[f"{kind}/{name}"])


@pytest.mark.parametrize(
    "path", [GOLDEN / "exact.csl", *sorted((GOLDEN / "exact").glob("*.csl"))], ids=lambda path: path.stem
)
def test_pixels_make_the_bytes_that_they_came_from(codec, path):
    for group in parse(path.read_bytes()).groups:
        if group.kind == "exact":
            (stack,) = codec.decompress([group])
            streams = torch.zeros(len(stack), dtype=torch.int64)
            ((again, _),) = codec.coder.encode(stack, "exact", streams)
            assert again == group
