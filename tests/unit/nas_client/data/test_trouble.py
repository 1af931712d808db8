"""What is wrong with a data set is found before training, and the message names the file and what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.spec.errors import UnknownNameError
from nas_client.data.base import DataSettings, Split
from nas_client.data.datasets import dataset_names, open_dataset
from nas_client.errors import DatasetError
from tests.support.data_layouts import SIZE, picture, save, write_camvid, write_cityscapes, write_folder

STEM = "aachen/aachen_000000_000019"
LABELS = f"gtFine/train/{STEM}_gtFine_labelIds.png"
ROAD = np.full(SIZE, 7, dtype=np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_cityscapes(tmp_path / "cityscapes", {STEM: ROAD, "aachen/aachen_000001_000019": ROAD})
    return tmp_path / "cityscapes"


def _problem(root: Path | None, *, name: str = "cityscapes", split: Split = "train") -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        open_dataset(DataSettings(name=name, root=root), split).check()
    assert caught.value.hint
    return caught.value


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    assert f"{tmp_path / 'nowhere'}: no such folder" in str(_problem(tmp_path / "nowhere"))


def test_no_folder_given() -> None:
    assert "needs the folder" in str(_problem(None))


def test_a_folder_one_level_off_either_way(root: Path) -> None:
    for given in (root.parent, root / "gtFine"):
        problem = _problem(given)
        assert str(given) in str(problem)
        assert "leftImg8bit" in str(problem)
        assert problem.hint == f"Did you mean {root}?"


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    for name in set(dataset_names()) - {"synthetic_streets", "synthetic_pets"}:
        assert "Images lie in" in _problem(tmp_path, name=name).hint


def test_a_split_without_images(root: Path) -> None:
    assert "no images of cityscapes's val split" in str(_problem(root, split="val"))


def test_a_split_without_labels(root: Path) -> None:
    problem = _problem(root, split="test")
    assert [str(problem), problem.hint] == ["cityscapes has no labels for its test split", "Splits with labels: train, val."]


def test_missing_labels_are_found_on_opening(root: Path) -> None:
    (root / LABELS).unlink()
    with pytest.raises(DatasetError, match=r"_leftImg8bit\.png has no labels: .*_labelIds\.png is missing$"):
        open_dataset(DataSettings(name="cityscapes", root=root), "train")


def test_labels_of_another_size(root: Path) -> None:
    save(root / LABELS, ROAD[1:])
    problem = _problem(root)
    assert f"{root / LABELS} is 5×8, but its image" in str(problem)
    assert "is 6×8" in str(problem)
    with pytest.raises(DatasetError, match="is 5×8"):
        open_dataset(DataSettings(name="cityscapes", root=root), "train").sample(0)


def test_unknown_label_ids(root: Path) -> None:
    ids = ROAD.copy()
    ids[0, :3] = (77, 34, 77)
    save(root / LABELS, ids)
    problem = _problem(root)
    assert str(problem) == f"{root / LABELS}: unknown label ids 34, 77 at 3 pixels"
    assert "_gtFine_labelIds.png" in problem.hint


@pytest.mark.parametrize(("dtype", "suffix"), [(np.uint16, "png"), (np.int32, "tif"), (np.float32, "tif")])
def test_images_of_more_than_8_bits(tmp_path: Path, dtype: type[np.generic], suffix: str) -> None:
    write_folder(tmp_path, {"train/a": ROAD % 3}, suffix=f".{suffix}")
    Image.fromarray(np.full(SIZE, 4000, dtype)).save(tmp_path / f"images/train/a.{suffix}")
    problem = _problem(tmp_path, name="folder")
    assert f"a.{suffix}: an image of mode" in str(problem)
    assert "write it as 8 bits" in problem.hint
    with pytest.raises(DatasetError, match="more than 8 bits"):
        open_dataset(DataSettings(name="folder", root=tmp_path), "train").sample(0)


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
def test_images_and_labels_are_turned_as_their_orientation_says(tmp_path: Path, suffix: str) -> None:
    """An upright label image fits a photo on its side; labels on their side are turned, too."""
    upright = ROAD % 3
    upright[0] = 2
    write_folder(tmp_path, {"train/a": upright, "train/b": upright}, suffix=f".{suffix}")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90° clockwise
    colours = np.where(upright[..., None] == 2, 250, 5).repeat(3, axis=2).astype(np.uint8)
    for name in ("a", "b"):
        Image.fromarray(np.rot90(colours)).save(tmp_path / f"images/train/{name}.{suffix}", exif=exif)
    Image.fromarray(np.rot90(upright)).save(tmp_path / "labels/train/b.png", exif=exif)
    dataset = open_dataset(DataSettings(name="folder", root=tmp_path), "train")
    dataset.check()
    for index in range(2):
        image, labels = dataset.sample(index)
        np.testing.assert_array_equal(labels, upright)
        assert np.array_equal(image[..., 0] > 128, upright == 2)


def test_colour_maps_given_for_label_ids(root: Path) -> None:
    save(root / LABELS, picture(0))
    assert "mode RGB; labels hold one id per pixel" in str(_problem(root))


def test_unknown_label_colours(tmp_path: Path) -> None:
    colours = np.zeros((*SIZE, 3), dtype=np.uint8)
    colours[2, 3] = (1, 2, 3)
    write_camvid(tmp_path, {"0006R0_f00930": colours})
    assert "0006R0_f00930_L.png: unknown label colours (1, 2, 3) at 1 pixels" in str(_problem(tmp_path, name="camvid"))


def test_label_ids_given_for_colours(tmp_path: Path) -> None:
    write_camvid(tmp_path, {"0006R0_f00930": ROAD})
    assert "mode L; labels are colours" in str(_problem(tmp_path, name="camvid"))


def test_a_stranger_among_camvid_frames(tmp_path: Path) -> None:
    write_camvid(tmp_path, {"holiday": picture(0)})
    assert "holiday.png is no frame of CamVid" in str(_problem(tmp_path, name="camvid"))


@pytest.mark.parametrize("kept", [0, 30, 45])
def test_files_that_are_cut_short(root: Path, kept: int) -> None:
    content = (root / LABELS).read_bytes()
    (root / LABELS).write_bytes(content[:kept])
    assert f"{root / LABELS}: cannot be read as an image" in str(_problem(root))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_images_that_are_cut_short(tmp_path: Path, suffix: str) -> None:
    """Their heads are whole."""
    write_folder(tmp_path, {"train/a": np.zeros((64, 96), np.uint8)}, suffix=suffix)
    image = tmp_path / f"images/train/a{suffix}"
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    assert f"{image}: cannot be read as an image" in str(_problem(tmp_path, name="folder"))


def test_the_first_of_several_is_named_and_the_others_counted(root: Path) -> None:
    for labels in (root / "gtFine").glob("*/*/*_labelIds.png"):
        save(labels, np.full(SIZE, 99, dtype=np.uint8))
    problem = _problem(root)
    assert str(problem).startswith(str(root / LABELS))
    assert str(problem).endswith("; so it is with 1 other file")


def test_checking_tells_how_far_it_is(root: Path) -> None:
    steps: list[tuple[int, int]] = []
    open_dataset(DataSettings(name="cityscapes", root=root), "train").check(lambda done, of: steps.append((done, of)))
    assert steps == [(1, 2), (2, 2)]


def test_an_unknown_data_set() -> None:
    with pytest.raises(UnknownNameError) as caught:
        open_dataset(DataSettings(name="cityscape"), "train")
    assert caught.value.hint == "Did you mean 'cityscapes'?"
