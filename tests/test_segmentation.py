"""Pictures with masks, the networks that segment them, and what they are measured by."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from caselli.data import VOID, Augment, Batches, Pictures, Segmented, open_segmented
from caselli.data.masks import read_masks
from caselli.data.scenes import SIZES, draw_scenes
from caselli.errors import UnknownName, UserError
from caselli.layer import DOWNSAMPLERS, UPSAMPLERS
from caselli.segmentation import (
    SEGMENTERS,
    SegmentationTask,
    SegmenterConfig,
    build_segmenter,
    confusion,
    load_segmenter,
    save_segmenter,
    score,
)


@pytest.fixture(scope="module")
def scenes():
    return draw_scenes(40, 64, 0, "test")


# the drawn set ----------------------------------------------------------------------------------------------


def test_every_glyph_has_a_mask_of_its_own(scenes):
    assert ((scenes.labels > 0).sum(1) >= 1).all() and ((scenes.labels > 0).sum(1) > 1).any()
    for instances, labels, mask in zip(scenes.instances, scenes.labels, scenes.masks(), strict=True):
        for number, label in enumerate(labels.tolist(), 1):
            assert (instances == number).any() == (label > 0)
            assert (mask[instances == number] == label).all()
        assert (mask[instances == 0] == 0).all()


def test_ink_is_darker_than_the_paper_around_it(scenes):
    pictures = scenes.pictures[:, 0].float()
    for picture, mask in zip(pictures, scenes.masks(), strict=True):
        assert picture[mask > 0].mean() < picture[mask == 0].mean() - 40


def test_scenes_are_a_function_of_the_seed(scenes):
    again, other = draw_scenes(40, 64, 0, "test"), draw_scenes(40, 64, 1, "test")
    assert torch.equal(again.pictures, scenes.pictures) and torch.equal(again.instances, scenes.instances)
    assert not torch.equal(other.pictures, scenes.pictures)


@pytest.mark.parametrize("size", [33])
def test_scenes_of_any_size(size):
    found = draw_scenes(3, size, 0, "test")
    assert found.pictures.shape == (3, 1, size, size)
    assert max(SIZES) * (size // 2) < size and found.masks().max() <= 10


# folders ----------------------------------------------------------------------------------------------------


def write(folder, count=12, size=(20, 16), mode="L", void=False):
    """Squares on black with their masks; the masks are as large as the pictures."""
    for number in range(count):
        mask = np.zeros((size[1], size[0]), dtype=np.uint8)
        mask[4:10, 5 : 9 + number % 3] = 1 + number % 2
        if void:
            mask[0] = VOID
        for kind, values in (("pictures", 100 * (mask > 0)), ("masks", mask)):
            path = folder / kind / "deep" / f"{number:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(values.astype(np.uint8))
            if kind == "masks" and mode == "P":
                image = image.convert("P")
                image.putdata(values.flatten().tolist())
            elif kind == "masks":
                image = image.convert(mode)
            image.save(path)
    return folder


@pytest.mark.parametrize("mode", ["L", "P"])
def test_masks_are_cropped_and_resized_as_their_pictures(tmp_path, mode):
    labelled = open_segmented(write(tmp_path, mode=mode), size=16)
    assert labelled.classes == ("0", "1", "2") and len(labelled) == 12
    batch = labelled.batch(torch.arange(12))
    assert torch.equal(batch.pictures[:, 0] > -0.9, batch.masks > 0)
    assert open_segmented(tmp_path, size=8).batch(torch.arange(2)).masks.shape == (2, 8, 8)


def test_void_pixels_and_names(tmp_path):
    write(tmp_path, void=True)
    (tmp_path / "classes.txt").write_text("ground\nodd\neven\nnever\n")
    labelled = open_segmented(tmp_path)
    assert labelled.classes == ("ground", "odd", "even", "never")
    assert (labelled.masks[:, 0] == VOID).all()


def test_black_and_white_masks_are_two_classes(tmp_path):
    write(tmp_path)
    for path in (tmp_path / "masks").rglob("*.png"):
        image = Image.open(path)
        image.point(lambda v: 255 if v else 0).save(path)
    labelled = open_segmented(tmp_path)
    assert labelled.classes == ("0", "1") and labelled.masks.max() == 1


def test_both_parts_keep_pictures_and_masks_together(tmp_path):
    labelled = open_segmented(write(tmp_path, count=30))
    train, held_out = labelled.split("train"), labelled.split("held_out")
    assert len(train) + len(held_out) == 30 and len(held_out) >= 1
    for part in (train, held_out):
        batch = part.batch(torch.arange(len(part)))
        assert torch.equal(batch.pictures[:, 0] > -0.9, batch.masks > 0)
    assert len({labelled.fingerprint, train.fingerprint, held_out.fingerprint}) == 3


def test_mistakes_in_folders(tmp_path):
    with pytest.raises(UserError, match="pictures/ and masks/"):
        open_segmented(tmp_path / "nothing")
    write(tmp_path / "a")
    (tmp_path / "a/masks/deep/03.png").unlink()
    with pytest.raises(UserError, match=r"1 of 12 pictures have no mask.*deep/03"):
        open_segmented(tmp_path / "a")
    write(tmp_path / "b", mode="RGB")
    with pytest.raises(UserError, match="holds RGB values"):
        open_segmented(tmp_path / "b")
    write(tmp_path / "c")
    (tmp_path / "c/classes.txt").write_text("only one\n")
    with pytest.raises(UserError, match="names 1 classes"):
        open_segmented(tmp_path / "c")


def test_masks_move_with_their_pictures():
    pixels = torch.randint(2, (16, 1, 12, 12), dtype=torch.uint8) * 255
    labelled = Segmented(Pictures.of("noise", pixels), pixels[:, 0] // 255, ("no", "yes"))
    batches = Batches(labelled, 8, seed=3, augment=Augment(flip=True, shift=3))
    for step, batch in zip(range(3), batches.stream(), strict=False):
        assert torch.equal(batch.pictures[:, 0] > 0, batch.masks > 0), step
    ahead, again = (next(batches.stream(2)) for _ in range(2))
    assert torch.equal(ahead.masks, again.masks) and not torch.equal(
        ahead.masks, next(batches.stream()).masks
    )


def test_ranks_share_a_batch():
    pixels = torch.randint(256, (8, 1, 6, 6), dtype=torch.uint8)
    labelled = Segmented(Pictures.of("noise", pixels), pixels[:, 0] // 128, ("no", "yes"))
    options = {"seed": 1, "augment": Augment(shift=2)}
    whole = next(Batches(labelled, 4, **options).stream(1))
    parts = [next(Batches(labelled, 4, rank=r, ranks=2, **options).stream(1)) for r in range(2)]
    assert torch.equal(torch.cat([p.masks for p in parts]), whole.masks)


# networks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SEGMENTERS)
@pytest.mark.parametrize("norm", ["none", "batch", "group"])
def test_every_segmenter_gives_a_map_of_the_pictures_size_and_learns_everywhere(name, norm):
    config = SegmenterConfig(name, classes=3, width=4, norm=norm)
    task = SegmentationTask(build_segmenter(config), 3)
    labelled = Segmented(
        Pictures.of("n", torch.randint(256, (4, 1, 40, 40), dtype=torch.uint8)), masks(), "abc"
    )
    batch = labelled.batch(torch.arange(4))
    losses = task(batch, 0)
    losses.total.backward()
    assert losses.total > 0.5
    assert all(p.grad is not None and p.grad.isfinite().all() for p in task.parameters())
    assert task.network.eval()(torch.zeros(1, 1, 37, 50)).shape == (1, 3, 37, 50)


def masks():
    return torch.randint(3, (4, 40, 40), dtype=torch.uint8)


@pytest.mark.parametrize("name", UPSAMPLERS)
@pytest.mark.parametrize("architecture", ["unet", "fcn16s"])
def test_every_upsampler_serves(name, architecture):
    network = build_segmenter(SegmenterConfig(architecture, width=4, depth=2, upsampler=name))
    assert network.eval()(torch.zeros(1, 1, 19, 33)).shape == (1, 2, 19, 33)


@pytest.mark.parametrize("name", DOWNSAMPLERS)
def test_every_downsampler_serves(name):
    network = build_segmenter(SegmenterConfig(width=4, depth=2, downsampler=name))
    assert network.eval()(torch.zeros(1, 1, 19, 33)).shape == (1, 2, 19, 33)


def test_names_are_checked():
    for options in ({"architecture": "net"}, {"upsampler": "up"}, {"downsampler": "down"}, {"norm": "l2"}):
        with pytest.raises(UnknownName):
            build_segmenter(SegmenterConfig(**options))
    with pytest.raises(UserError, match="2 to 255"):
        SegmenterConfig(classes=256)


def test_files(tmp_path):
    config = SegmenterConfig(classes=3, width=4, depth=1)
    network = build_segmenter(config).eval()
    save_segmenter(network, config, 32, ("a", "b", "c"), tmp_path)
    loaded = load_segmenter(tmp_path)
    x = torch.randn(2, 1, 16, 16)
    assert torch.equal(loaded.network(x), network(x)) and loaded.classes == ("a", "b", "c")
    assert torch.equal(loaded.segment(x), network(x).argmax(1))
    (tmp_path / "segmenter.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"segmenter\.safetensors is cut short or damaged"):
        load_segmenter(tmp_path)
    (tmp_path / "segmenter.json").write_text("{}")
    with pytest.raises(UserError, match=r"segmenter\.json cannot be read"):
        load_segmenter(tmp_path)
    with pytest.raises(UserError, match="nowhere holds no segmenter"):
        load_segmenter(tmp_path / "nowhere")


# measures ---------------------------------------------------------------------------------------------------


def test_intersection_over_union_equals_its_definition():
    predicted, true = torch.randint(4, (2, 3, 9, 9), generator=torch.Generator().manual_seed(0))
    true[0, 0], true[true == 3] = VOID, 2
    found = score(confusion(predicted, true, 5))
    counted = true != VOID
    for k in range(4):
        a, b = (predicted == k) & counted, (true == k) & counted
        assert found.iou[k].item() == pytest.approx(((a & b).sum() / (a | b).sum()).item(), abs=1e-6)
    assert math.isnan(found.iou[4])  # it is nowhere
    assert found.mean_iou == pytest.approx(found.iou[:4].mean().item())
    assert found.accuracy == pytest.approx((predicted == true)[counted].float().mean().item(), abs=1e-6)


def test_scikit_learn_agrees():
    metrics = pytest.importorskip("sklearn.metrics")
    predicted, true = torch.randint(3, (2, 500), generator=torch.Generator().manual_seed(1))
    found = score(confusion(predicted, true, 3)).mean_iou
    assert found == pytest.approx(metrics.jaccard_score(true, predicted, average="macro"))


def test_void_pixels_are_not_trained_on():
    task = SegmentationTask(torch.nn.Conv2d(1, 2, 1), 2)
    pixels = torch.randint(256, (2, 1, 4, 4), dtype=torch.uint8)
    labels = torch.ones(2, 4, 4, dtype=torch.uint8)
    labels[:, :2] = VOID
    batch = Segmented(Pictures.of("n", pixels), labels, "ab").batch(torch.arange(2))
    batch.pictures.requires_grad_()
    task(batch, 0).total.backward()
    gradient = batch.pictures.grad.abs()
    assert (gradient[:, :, :2] == 0).all() and (gradient[:, :, 2:] > 0).any()
    everything = Segmented(Pictures.of("n", pixels), torch.full_like(labels, VOID), "ab").batch(
        torch.arange(2)
    )
    assert task(everything, 0).total == 0


@pytest.mark.parametrize("kind", ["empty", "EPS", "DDS"])
def test_masks_that_are_no_pictures_are_one_line(tmp_path, kind):
    """PostScript would start another program, and some decoders raise anything."""
    file = io.BytesIO(b"DDS " + bytes(8))
    if kind == "EPS":
        Image.new("L", (8, 8)).save(file, "EPS")
    (tmp_path / "a.png").write_bytes(b"" if kind == "empty" else file.getvalue())
    with pytest.raises(UserError, match=r"the mask .* cannot be read"):
        read_masks(tmp_path, ["a.png"], 8)
