"""The codec: what comes back, in any batch; rate; damaged files; the commands."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from PIL import Image

from caselli.cli import main
from caselli.codec import (
    Archive,
    Codec,
    Decoders,
    Encoders,
    Group,
    Pixels,
    ResidualConfig,
    ResidualModel,
    Sequences,
    image_of,
    learn_residual,
    load_residual,
    lossless_webp,
    optimised_png,
    parse,
    save_residual,
    serialise_archive,
    serialise_one,
)
from caselli.codec.coder import weights
from caselli.codec.container import HEADER
from caselli.codec.learning import ReconstructedBatches
from caselli.codec.lossless import check_png
from caselli.codec.residual import BEFORE, SLOPE, Places, context
from caselli.data import Pictures, to_bytes
from caselli.errors import UserError
from caselli.model import build_prior, load, save_prior, save_tokenizer
from caselli.prior import Alphabet, Autoregressive, PriorConfig
from caselli.tokenizer import Tokenizer, TokenizerConfig

pytest.importorskip("constriction")
SIZE = 8


def make_run(folder, *, channels=3, seed=0, **changes):
    """An untrained run with a residual model, its prior away from the uniform start."""
    torch.manual_seed(seed)
    tokenizer = Tokenizer(
        TokenizerConfig(
            factor=4,
            width=8,
            latent_width=4,
            quantizer_options={"codebook_size": 16},
            channels=channels,
            **changes,
        )
    ).eval()
    prior, _ = build_prior(PriorConfig(width=32, depth=1), tokenizer, SIZE, 0)
    residual = ResidualModel(ResidualConfig(channels, width=8))
    with torch.no_grad():
        prior.head.weight.mul_(8)
    save_tokenizer(tokenizer, folder, SIZE)
    save_prior(prior, folder, tokenizer.fingerprint(), [])
    save_residual(residual, folder, tokenizer.fingerprint())
    return folder


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def codec(run_folder):
    return codec_of(run_folder)


def codec_of(folder, **options):
    model = load(folder)
    return Codec(model, load_residual(folder, model.tokenizer.fingerprint()), **options)


def one_stream(count):
    """The stream of each of so many rows: the same for all."""
    return torch.zeros(count, dtype=torch.int64)


def smooth(count, channels=3, height=SIZE, width=SIZE, seed=0):
    """Pictures with something to predict."""
    random = np.random.default_rng(seed)
    steps = random.integers(-9, 10, (count, channels, height, width)).cumsum(2).cumsum(3)
    return list(torch.from_numpy((128 + steps).clip(0, 255).astype(np.uint8)))


# the entropy coder ------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(some.integers(0, 40), some.integers(2, 20), some.integers(0, 10_000))
def test_symbols_come_back(count, size, seed):
    random = torch.Generator().manual_seed(seed)
    tables = weights(torch.randn(count, size, generator=random) * 8) if count else torch.zeros(0, size)
    symbols = torch.randint(size, (count,), generator=random)
    streams = torch.randint(3, (count,), generator=random)
    encoders = Encoders(3)
    for part in range(0, count, 7):
        rows = slice(part, part + 7)
        encoders.put(streams[rows], symbols[rows], tables[rows])
    assert torch.equal(Decoders(encoders.bytes()).take(streams, tables), symbols)


def test_the_stream_is_as_long_as_its_symbols_are_improbable():
    tables = weights(torch.randn(4000, 50) * 3)
    symbols = torch.multinomial(tables.float(), 1)[:, 0]
    encoders = Encoders(1)
    bits = encoders.put(one_stream(4000), symbols, tables).sum()
    ideal = -(tables / tables.sum(1, keepdim=True)).log2().gather(1, symbols[:, None]).sum()
    assert abs(bits / ideal - 1) < 1e-3 and abs(8 * len(encoders.bytes()[0]) - bits) < 0.001 * bits + 64


def test_weights_of_logits_that_are_no_numbers():
    with pytest.raises(UserError, match="not numbers"):
        weights(torch.tensor([[0.0, torch.nan]]))


# sequences and pixels ---------------------------------------------------------------------------------------


def test_sequences_come_back_in_any_batch_and_with_any_threads(codec):
    prior = codec.model.prior
    codes = torch.randint(0, 16, (21, prior.alphabet.length))
    encoders, streams = Encoders(1), one_stream(21)
    bits = Sequences(prior, 8).encode(codes, encoders, streams)
    threads = torch.get_num_threads()
    try:
        for batch, count in ((1, 1), (5, 2), (256, 2)):
            torch.set_num_threads(count)
            assert torch.equal(Sequences(prior, batch).decode(Decoders(encoders.bytes()), streams), codes)
    finally:
        torch.set_num_threads(threads)
    ideal = -prior.log_prob(codes, None).detach().sum(1) / math.log(2)
    torch.testing.assert_close(bits.float(), ideal, rtol=1e-3, atol=1e-2)


def test_sequences_in_several_rounds(codec, monkeypatch):
    monkeypatch.setattr("caselli.codec.sequences.MOST_ROWS", 4)
    codes, streams = torch.randint(0, 16, (9, 4)), torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 2])
    encoders = Encoders(3)
    codec.coder.sequences.encode(codes, encoders, streams)
    written = encoders.bytes()
    assert torch.equal(Sequences(codec.model.prior, 3).decode(Decoders(written), streams), codes)
    for number, data in enumerate(written):  # a stream reads alike alone and among others
        own = codes[streams == number]
        assert torch.equal(codec.coder.sequences.decode(Decoders([data]), one_stream(len(own))), own)


def test_rows_that_share_steps_go_by_what_the_layers_carry(codec, monkeypatch):
    """The order of a stream depends on them: nothing else in the state may count."""
    _, state = codec.coder.sequences.prior.start(None, 1)
    one = sum(tensor.numel() * 8 for layer in state.layers for tensor in layer.tensors())
    monkeypatch.setattr("caselli.codec.sequences.MOST_STATE", 3 * one)
    assert [len(rows) for rows in codec.coder.sequences._blocks(one_stream(8))] == [3, 3, 2]


def test_another_kind_of_prior_is_refused():
    masked, _ = build_prior(
        PriorConfig(kind="masked", width=32, depth=1), load_untrained(1).tokenizer, SIZE, 0
    )
    with pytest.raises(UserError, match="kind 'masked'"):
        Sequences(masked)


def test_random_bits_are_samples_of_the_prior(tmp_path):
    """Decoding noise draws from the prior: all sequences of a tiny one, counted."""
    tokenizer = Tokenizer(
        TokenizerConfig(factor=4, width=8, latent_width=4, channels=1, quantizer_options={"codebook_size": 3})
    ).eval()
    prior, _ = build_prior(PriorConfig(width=32, depth=1), tokenizer, 8, 0)
    with torch.no_grad():
        prior.head.weight.mul_(8)
    every = torch.cartesian_prod(*[torch.arange(3)] * 4)
    p = prior.log_prob(every, None).detach().double().sum(1).exp()
    random, drawn = np.random.default_rng(0), []
    sequences = Sequences(prior.eval())
    for _ in range(20):
        decoders = Decoders([random.bytes(16) for _ in range(256)])
        drawn.append(sequences.decode(decoders, torch.arange(256))[~decoders.broken])
    drawn = torch.cat(drawn)
    count = len(drawn)
    assert count > 0.99 * 20 * 256
    counts = torch.bincount((drawn * torch.tensor([27, 9, 3, 1])).sum(1), minlength=81)
    statistic = float(((counts - count * p) ** 2 / (count * p)).sum())
    assert abs(statistic - 80) < 5 * math.sqrt(160)


def test_what_a_pixel_sees_is_coded_before_it():
    for row, column in BEFORE:
        assert column + SLOPE * row < 0


def test_a_context_does_not_depend_on_what_comes_later():
    x, shown = torch.randint(0, 256, (2, 1, 3, 6, 7))
    place = Places(*(torch.tensor([n]) for n in (0, 3, 2)))
    before = context(x, shown, place)
    later = x.clone()
    for row in range(6):
        for column in range(7):
            if column + SLOPE * row >= 2 + SLOPE * 3:
                later[:, :, row, column] = 0
    assert torch.equal(context(later, shown, place).before, before.before)


@pytest.mark.parametrize("streams", [one_stream, torch.arange])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 3, 5, 4), (2, 1, 1, 9), (2, 3, 7, 1)])
def test_pixels_come_back_in_any_batch(shape, streams):
    network = ResidualModel(ResidualConfig(shape[1], width=8))
    pixels, shown = torch.randint(0, 256, (2, *shape))
    streams = streams(shape[0])
    encoders = Encoders(int(streams[-1]) + 1)
    bits = Pixels(network, rows=16).encode(pixels, shown, encoders, streams)
    assert torch.equal(Pixels(network, rows=5).decode(shown, Decoders(encoders.bytes()), streams), pixels)
    for number, data in enumerate(encoders.bytes()):
        assert abs(8 * len(data) - bits[streams == number].sum()) < 64


def test_a_residual_model_learns():
    pixels = torch.stack(smooth(24, channels=1))
    folder_free = load_untrained(1)
    pictures = Pictures.of("slopes", pixels)
    said = []
    learnt = learn_residual(folder_free, pictures, steps=100, width=16, say=said.append)
    bits = [float(word.split(": ")[1].split()[0]) for word in said]
    assert len(bits) == 1 and bits[0] < 7.5
    again = learn_residual(folder_free, pictures, steps=2, width=16)
    assert not torch.equal(again.networks[0][0].weight, learnt.networks[0][0].weight)
    pairs = ReconstructedBatches(folder_free, pictures, 0)
    for late, expected in zip(pairs.stream(15), itertools.islice(pairs.stream(), 15, 18), strict=False):
        assert torch.equal(late.pixels, expected.pixels)
    with pytest.raises(UserError, match="more than 0"):
        learn_residual(folder_free, pictures, seconds=0)


def load_untrained(channels):
    from caselli.model import Model
    from caselli.order import Raster

    config = TokenizerConfig(
        factor=4, width=8, latent_width=4, channels=channels, quantizer_options={"codebook_size": 16}
    )
    return Model(Tokenizer(config), None, Raster(), SIZE)


# whole pictures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["codes", "exact"])
def test_pictures_come_back(codec, run_folder, kind):
    pictures = smooth(7)
    coded = codec.compress(pictures, kind, shared=True)
    other = codec_of(run_folder, batch=2)
    expected = torch.stack(pictures)
    if kind == "codes":
        model = codec.model
        expected = to_bytes(model.decode(model.encode(expected.float() / 127.5 - 1)))
    for one in coded:
        for found in (*codec.decompress([one.group]), *other.decompress([one.group])):
            assert torch.equal(found, expected[list(one.members)])


@pytest.mark.parametrize("kind", ["codes", "exact"])
def test_together_and_apart_are_the_same_bytes(codec, kind):
    pictures = (
        smooth(5) if kind == "codes" else [*smooth(2), *smooth(2, 3, 40, 25), *smooth(1, 4), *smooth(1, 1)]
    )
    each = sorted(codec.compress(pictures, kind, shared=False), key=lambda one: one.members)
    for picture, one in zip(pictures, each, strict=True):
        assert codec.compress([picture], kind, shared=False)[0].group == one.group
    if kind == "codes":
        assert codec.compress(pictures[:1], kind, shared=True)[0].group == each[0].group
    found = codec.decompress([one.group for one in each])
    for one, pixels in zip(each, found, strict=True):
        assert torch.equal(codec.decompress([one.group])[0], pixels)


def test_streams_of_several_tiles_read_alike_alone(codec, monkeypatch):
    """Three tiles a picture, four sequences a block: no picture's tiles may end up in two blocks."""
    monkeypatch.setattr("caselli.codec.sequences.MOST_ROWS", 4)
    pictures = smooth(3, 3, SIZE, 3 * SIZE)
    groups = codec.coder.encode(torch.stack(pictures), "exact", torch.arange(3))
    for picture, (group, _) in zip(pictures, groups, strict=True):
        assert torch.equal(codec.decompress([group])[0][0], picture)


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 5, 19), (1, 9, 9), (2, 6, 6), (4, 7, 8), (3, 1, 1)])
def test_exact_takes_any_picture(codec, shape):
    picture = smooth(1, *shape, seed=3)[0]
    (one,) = codec.compress([picture], "exact", shared=True)
    assert torch.equal(codec.decompress([one.group])[0][0], picture)
    assert len(one.group.data) <= len(optimised_png(picture.permute(1, 2, 0).numpy()))


def test_a_picture_that_the_model_knows_better_than_png_is_coded_by_it(run_folder):
    """Noise under a uniform model costs what it has; a PNG adds to that."""
    codec, noise = codec_of(run_folder), torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        for network in codec.coder.pixels.network.networks:
            network[-1].weight.zero_(), network[-1].bias.zero_()
    (one,) = codec.compress([noise], "exact", shared=True)
    assert one.group.kind == "exact" and torch.equal(codec.decompress([one.group])[0][0], noise)


def test_what_exact_will_take_is_known_before(run_folder):
    codec, stack = codec_of(run_folder), torch.stack(smooth(3))
    bits = [bits for _, bits in codec.coder.encode(stack, "exact", torch.arange(3))]
    expected = torch.tensor(bits, dtype=torch.float64)
    torch.testing.assert_close(codec.coder.exact_bits(stack), expected, rtol=5e-3, atol=1)


def test_mixed_sizes_in_one_archive(codec):
    pictures = [*smooth(2), *smooth(1, 3, 5, 6), *smooth(2, 1), *smooth(1, 4)]
    coded = codec.compress(pictures, "exact", shared=True)
    names = tuple(f"p{i}" for c in coded for i in c.members)
    archive = parse(
        serialise_archive(Archive(codec.fingerprint("exact"), tuple(c.group for c in coded), names), "exact")
    )
    found = [picture for stack in codec.decompress(archive.groups) for picture in stack]
    for name, picture in zip(archive.names, found, strict=True):
        assert torch.equal(picture, pictures[int(name[1:])])


def test_the_reconstruction_is_the_same_in_any_batch(codec):
    codes = torch.randint(0, 16, (5, 4))
    whole = codec.coder.shown(codes)
    assert torch.equal(torch.cat([codec.coder.shown(codes[:1]), codec.coder.shown(codes[1:])]), whole)
    grids = codec.model.order.restore(codes, codec.model.grid)
    assert (whole.int() - to_bytes(codec.model.decode(grids)).int()).abs().max() <= 1


# files ------------------------------------------------------------------------------------------------------


def test_the_header_is_short():
    assert HEADER.size < 24


def with_right_sums(data):
    """Bytes with the check sum of the file made right again."""
    head = data[: HEADER.size - 4]
    return head + struct.pack("<I", zlib.crc32(data[HEADER.size :], zlib.crc32(head))) + data[HEADER.size :]


def opened(codec, data):
    """All pictures of a file's bytes."""
    archive = parse(data)
    codec.check(archive)
    return [picture for stack in codec.decompress(archive.groups) for picture in stack]


@pytest.fixture(scope="module")
def files(codec):
    """A file of each sort."""
    pictures = smooth(2)
    found = []
    for kind in ("codes", "exact"):
        coded = codec.compress(pictures, kind, shared=True)
        groups = tuple(c.group for c in coded)
        found.append(serialise_archive(Archive(codec.fingerprint(kind), groups, ("a", "b")), kind))
    stack = torch.stack(pictures[:1])
    for kind in ("codes", "exact"):
        ((group, _),) = codec.coder.encode(stack, kind, one_stream(1))
        found.append(serialise_one(codec.fingerprint(kind), group))
    webp = lossless_webp(pictures[0].permute(1, 2, 0).numpy())
    found.append(serialise_one(b"\0" * 6, Group("webp", 3, SIZE, SIZE, 1, 0, webp)))
    found.append(optimised_png(pictures[0].permute(1, 2, 0).numpy()))
    return found


def test_whole_files_are_read(codec, files):
    for data in (*files[:4], files[5]):
        assert opened(codec, data)


slow_enough = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@slow_enough
@given(some.data())
def test_a_flipped_bit_anywhere_is_one_line(codec, files, data):
    whole = bytearray(data.draw(some.sampled_from(files)))
    at = data.draw(some.integers(0, 8 * len(whole) - 1))
    whole[at // 8] ^= 1 << at % 8
    with pytest.raises(UserError):
        opened(codec, bytes(whole))


@slow_enough
@given(some.data())
def test_a_file_cut_short_or_lengthened_is_one_line(codec, files, data):
    whole = data.draw(some.sampled_from(files))
    cut = whole[: data.draw(some.integers(0, len(whole) - 1))]
    for wrong in (cut, whole + b"\0"):
        with pytest.raises(UserError):
            opened(codec, wrong)


@slow_enough
@given(some.data())
def test_a_made_up_file_is_one_line_or_pictures(codec, files, data):
    """Bytes changed and the check sum made right again: whatever it asks for, no hang and no other error."""
    whole = bytearray(data.draw(some.sampled_from(files[:5])))
    for _ in range(data.draw(some.integers(1, 4))):
        whole[data.draw(some.integers(0, len(whole) - 1))] = data.draw(some.integers(0, 255))
    with contextlib.suppress(UserError):
        opened(codec, with_right_sums(bytes(whole)))


@slow_enough
@given(some.binary(max_size=200))
def test_a_made_up_directory_is_one_line(codec, directory):
    head = HEADER.pack(b"CSLI", 1, 1 << 4, b"\0" * 6, 0, 0, 0, 0)
    for body in (directory, struct.pack("<I", len(zlib.compress(directory))) + zlib.compress(directory)):
        with contextlib.suppress(UserError):
            opened(codec, with_right_sums(head + body))


@pytest.mark.parametrize(
    "line", ["0 1 8 8 1 0 99999999999", "9 1 8 8 1 0 0", "0 1 0 8 1 0 0", "0 1 8 8 1 0", "-1 1 8 8 1 0 0"]
)
def test_wrong_directories(codec, line):
    text = zlib.compress(f"1\n{line}\nname".encode())
    head = HEADER.pack(b"CSLI", 1, 1 << 4, b"\0" * 6, 0, 0, 0, 0)
    with pytest.raises(UserError, match="damaged"):
        parse(with_right_sums(head + struct.pack("<I", len(text)) + text))


def test_names_stay_inside_the_folder(codec):
    group = codec.compress(smooth(1), "codes", shared=True)[0].group
    for name in ("../a", "/a", "", "x/../../y"):
        data = serialise_archive(Archive(codec.fingerprint("codes"), (group,), (name,)), "codes")
        with pytest.raises(UserError, match="inside the folder"):
            parse(data)


def test_a_giant_is_refused_before_anything_is_made(codec, run_folder):
    giant = Group("exact", 3, 60_000, 60_000, 1, 0, b"")
    crowd = Archive(codec.fingerprint("exact"), (Group("exact", 3, 1, 1, 70_000, 0, b""),), ("a",) * 70_000)
    for data in (serialise_one(codec.fingerprint("exact"), giant), serialise_archive(crowd, "exact")):
        with pytest.raises(UserError, match="allow-large"):
            opened(codec, data)
    with pytest.raises(UserError, match="allow-large"):
        codec.compress([torch.zeros(3, 3000, 3000, dtype=torch.uint8)], "exact", shared=True)
    assert codec_of(run_folder, allow_large=True).allow_large


def test_another_model_and_a_later_version(codec, files, tmp_path):
    other = codec_of(make_run(tmp_path, seed=1))
    for data in (files[0], *files[2:4]):
        with pytest.raises(UserError, match="of model"):
            opened(other, data)
    later = bytearray(files[2])
    later[4] = 3
    with pytest.raises(UserError, match="version 3"):
        parse(with_right_sums(bytes(later)))


def test_other_arithmetic_is_told_from_damage(codec):
    group = codec.compress(smooth(1), "codes", shared=True)[0].group
    wrong = dataclasses.replace(group, check=group.check ^ 1)
    with pytest.raises(UserError, match="arithmetic"):
        codec.decompress([wrong])


# PNG --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_optimised_pngs_are_right_and_small(channels, tmp_path):
    random = np.random.default_rng(channels)
    for levels in (2, 3, 14, 200):
        pixels = random.integers(0, levels, (9, 11, channels)).astype(np.uint8) * (255 // levels)
        data = optimised_png(pixels)
        check_png(data)
        (tmp_path / "a.png").write_bytes(data)
        image = Image.open(tmp_path / "a.png").convert(image_of(pixels).mode)
        assert np.array_equal(np.asarray(image).reshape(pixels.shape), pixels)
        image_of(pixels).save(tmp_path / "b.png", optimize=True)
        assert len(data) <= (tmp_path / "b.png").stat().st_size


# the commands -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    for number, picture in enumerate(smooth(4)):
        path = root / ("deep" if number % 2 else ".") / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        image_of(picture.permute(1, 2, 0).numpy()).save(path)
    return root


@pytest.mark.parametrize("archive", [[], ["--archive"]])
@pytest.mark.parametrize("kind", ["codes", "exact"])
def test_there_and_back(run_folder, folder, tmp_path, capsys, kind, archive):
    packed, out = str(tmp_path / "packed"), tmp_path / "out"
    assert main(["compress", str(run_folder), str(folder), "--kind", kind, *archive, "-o", packed]) == 0
    assert "pictures a second" in capsys.readouterr().err
    assert main(["decompress", str(run_folder), packed, "-o", str(out), "--batch", "3"]) == 0
    found = {path.relative_to(out).as_posix() for path in out.rglob("*.png")}
    assert found == {"0.png", "2.png", "deep/1.png", "deep/3.png"}
    if kind == "exact":
        for name in found:
            assert np.array_equal(np.asarray(Image.open(out / name)), np.asarray(Image.open(folder / name)))
    assert (out.stat().st_mode & 0o777) == (folder.stat().st_mode | 0o055) & 0o777


def test_what_comes_back_is_what_reconstruct_shows(run_folder, folder, tmp_path):
    assert main(["compress", str(run_folder), str(folder / "0.png"), "-o", str(tmp_path / "c")]) == 0
    assert (
        main(["decompress", str(run_folder), str(tmp_path / "c" / "0.csl"), "-o", str(tmp_path / "d")]) == 0
    )
    from caselli.cli.pictures import read_pictures

    model = load(run_folder)
    shown = to_bytes(model.decode(model.encode(read_pictures(model, [str(folder / "0.png")], 1))))[0]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "d" / "0.png")), shown.permute(1, 2, 0).numpy())


def test_mistakes_are_one_line_and_leave_nothing(run_folder, folder, tmp_path, capsys):
    out = tmp_path / "out"
    (tmp_path / "bad.csl").write_bytes(b"CSLI\1")
    (tmp_path / "text.txt").write_text("words")
    (tmp_path / "empty").mkdir()
    picture = str(folder / "0.png")
    for words, said in (
        (["compress", str(run_folder), picture, "--kind", "lossy"], "kind 'lossy'"),
        (["compress", str(run_folder), str(tmp_path / "no.png")], "cannot be read"),
        (
            ["compress", str(run_folder), str(tmp_path / "bad.csl"), picture, "--kind", "exact"],
            "cannot be read",
        ),
        (["compress", str(run_folder), str(tmp_path / "empty")], "holds no pictures"),
        (["compress", str(run_folder), picture, "--batch", "0"], "batch 0"),
        (["decompress", str(run_folder), str(tmp_path / "bad.csl")], "cut short"),
        (["decompress", str(run_folder), str(tmp_path / "text.txt")], "none of the codec's"),
        (["decompress", str(run_folder), str(tmp_path / "no.csl")], "cannot be read"),
        (["decompress", str(run_folder), str(tmp_path / "empty")], "nothing compressed"),
        (["residual", str(run_folder), str(folder)], "already"),
    ):
        tail = [] if words[0] == "residual" else ["-o", str(out)]
        assert main([*words, *tail]) == 2, words
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1, error
    assert not out.exists() and not list(tmp_path.glob(".out*"))


def test_a_run_without_a_residual_model(tmp_path, folder, capsys):
    make_run(tmp_path)
    (tmp_path / "residual.json").unlink()
    words = ["compress", str(tmp_path), str(folder), "--kind", "exact", "-o", str(tmp_path / "x")]
    assert main(words) == 2 and "caselli residual" in capsys.readouterr().err
    learn = ["residual", str(tmp_path), str(folder), "--steps", "2"]
    assert main([*learn, "--width", "4"]) == 0
    assert main(words) == 0
    assert main([*learn, "--width", "8", "--resume"]) == 2 and "begun with 4" in capsys.readouterr().err


def test_pictures_that_are_not_eight_bits(run_folder, tmp_path, capsys):
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "deep.png")
    words = [
        "compress",
        str(run_folder),
        str(tmp_path / "deep.png"),
        "--kind",
        "exact",
        "-o",
        str(tmp_path / "x"),
    ]
    assert main(words) == 2 and "has 16 bits a sample; 8 bits were expected" in capsys.readouterr().err


def test_palettes_alpha_and_orientation(run_folder, tmp_path):
    """What a viewer shows comes back, every channel of it."""
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (6, 8, 4), dtype=np.uint8), "RGBA")
    image.save(tmp_path / "alpha.png")
    image.convert("RGB").quantize(8).save(tmp_path / "palette.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.convert("RGB").save(tmp_path / "turned.png", exif=exif)
    names = ["alpha", "palette", "turned"]
    sources = [str(tmp_path / f"{name}.png") for name in names]
    assert main(["compress", str(run_folder), *sources, "--kind", "exact", "-o", str(tmp_path / "c")]) == 0
    assert main(["decompress", str(run_folder), str(tmp_path / "c"), "-o", str(tmp_path / "d")]) == 0
    found = {name: Image.open(tmp_path / "d" / f"{name}.png") for name in names}
    assert np.array_equal(np.asarray(found["alpha"].convert("RGBA")), np.asarray(image))
    palette = Image.open(tmp_path / "palette.png").convert("RGB")
    assert np.array_equal(np.asarray(found["palette"].convert("RGB")), np.asarray(palette))
    turned = np.asarray(image.convert("RGB").transpose(Image.Transpose.ROTATE_270))
    assert np.array_equal(np.asarray(found["turned"].convert("RGB")), turned)


# the same bits everywhere -----------------------------------------------------------------------------------


def by_formula(network):
    """Weights that no generator of random numbers makes."""
    with torch.no_grad():
        for parameter in network.parameters():
            steps = (torch.arange(parameter.numel()) * 7919) % 101 - 50
            parameter.copy_((steps / 128).view(parameter.shape))
    return network.eval()


def test_a_stream_of_pixels_is_the_same_on_every_machine():
    network = by_formula(ResidualModel(ResidualConfig(1, width=6)))
    pixels = ((torch.arange(48) * 37) % 256).view(1, 1, 6, 8)
    encoders = Encoders(1)
    Pixels(network).encode(pixels, pixels.flip(3), encoders, one_stream(1))
    assert f"{zlib.crc32(encoders.bytes()[0]):08x}" == PIXELS


def test_a_stream_of_codes_is_the_same_on_every_machine():
    prior = by_formula(Autoregressive(PriorConfig(width=32, depth=1), Alphabet((16,), (0,) * 8)))
    encoders = Encoders(1)
    Sequences(prior).encode((torch.arange(40) * 7 % 16).view(5, 8), encoders, one_stream(5))
    assert f"{zlib.crc32(encoders.bytes()[0]):08x}" == CODES


PIXELS, CODES = "28c338aa", "0b1997f9"
"""Check sums of the streams, as first written."""
