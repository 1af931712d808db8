"""Files in the layout of each data set's owner are found and read with the right classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nas_client.data.base import DataSettings
from nas_client.data.classes import CAMVID, CITYSCAPES, IGNORE
from nas_client.data.datasets import camvid_split, open_dataset
from nas_client.errors import DatasetError
from tests.support.data_layouts import SIZE, picture, write_bdd100k, write_camvid, write_cityscapes, write_pets


def test_cityscapes_label_ids_become_train_ids(tmp_path: Path) -> None:
    ids = np.zeros(SIZE, dtype=np.uint8)
    ids[0, :5] = (7, 26, 33, 255, 4)  # road, car, bicycle; a licence plate and "static" count as nothing
    write_cityscapes(tmp_path, {"bochum/bochum_000000_000001": np.full(SIZE, 23, np.uint8), "aachen/aachen_000000_000019": ids})
    write_cityscapes(tmp_path, {"ulm/ulm_000000_000001": ids}, split="val")
    dataset = open_dataset(DataSettings(name="cityscapes", root=tmp_path), "train")
    dataset.check()
    assert len(dataset) == 2
    image, labels = dataset.sample(0)  # in the order of the file names
    assert labels[0, :5].tolist() == [CITYSCAPES.id_of("road"), CITYSCAPES.id_of("car"), 18, IGNORE, IGNORE]
    assert (labels[1:] == IGNORE).all()
    assert np.array_equal(image, picture(1))
    assert (dataset.sample(1).labels == CITYSCAPES.id_of("sky")).all()
    assert len(open_dataset(DataSettings(name="cityscapes", root=tmp_path), "val")) == 1


@pytest.mark.parametrize("older", [False, True])
def test_bdd100k_is_read_in_both_layouts(tmp_path: Path, older: bool) -> None:
    ids = np.arange(48, dtype=np.uint8).reshape(SIZE) % 19
    ids[0, 0] = 255
    write_bdd100k(tmp_path, {"0a0a0b1a-7c39d841": ids}, older=older)
    dataset = open_dataset(DataSettings(name="bdd100k", root=tmp_path), "train")
    dataset.check()
    assert [len(dataset), dataset.classes] == [1, CITYSCAPES]
    image, labels = dataset.sample(0)
    assert np.array_equal(labels, ids)
    assert image.shape == (*SIZE, 3)


def test_camvid_colours_become_eleven_classes(tmp_path: Path) -> None:
    colours = np.zeros((*SIZE, 3), dtype=np.uint8)  # Void
    colours[0, :4] = ((128, 64, 128), (128, 0, 192), (64, 128, 192), (0, 128, 192))  # Road, LaneMkgsDriv, SUV, Bicyclist
    write_camvid(tmp_path, {"0006R0_f00930": colours, "0016E5_07959": colours, "Seq05VD_f00000": colours})
    dataset = open_dataset(DataSettings(name="camvid", root=tmp_path), "train")
    dataset.check()
    assert [len(dataset), len(dataset.classes)] == [1, 11]
    labels = dataset.sample(0).labels
    assert [CAMVID.names[label] for label in labels[0, :4]] == ["road", "road", "car", "bicyclist"]
    assert (labels[1:] == IGNORE).all()


def test_camvid_frames_are_split_as_in_the_literature() -> None:
    """101 of validation; the others by drive and, in the dusk drive, by time."""
    assert sum(camvid_split(f"0016E5_{frame:05}") == "val" for frame in range(10_000)) == 101
    known = {"0001TP_006690": "train", "0001TP_008520": "train", "0001TP_008550": "test", "Seq05VD_f02610": "test"}
    assert {stem: camvid_split(stem) for stem in known} == known
    assert camvid_split("0016E5_00390") == camvid_split("0006R0_f00930") == "train"
    assert camvid_split("holiday") is None


def test_camvid_with_all_the_classes_of_its_owner(tmp_path: Path) -> None:
    colours = np.zeros((*SIZE, 3), dtype=np.uint8)  # Void, a class here
    colours[0, :3] = ((64, 128, 64), (128, 0, 192), (64, 192, 0))  # Animal, LaneMkgsDriv, Wall
    write_camvid(tmp_path, {"0006R0_f00930": colours})
    dataset = open_dataset(DataSettings(name="camvid32", root=tmp_path), "train")
    names = dataset.classes.names
    assert len(names) == len(set(dataset.classes.colours)) == 32
    labels = dataset.sample(0).labels
    assert [names[label] for label in labels[0, :4]] == ["Animal", "LaneMkgsDriv", "Wall", "Void"]
    assert [names[0], names[-1]] == ["Animal", "Wall"]  # the order of label_colors.txt
    assert np.array_equal(dataset.classes.paint(labels), colours)


def test_trimaps_have_two_classes_or_three(tmp_path: Path) -> None:
    trimap = np.full(SIZE, 2, dtype=np.uint8)
    trimap[0, :2] = (1, 3)  # pet, border
    names = [f"Abyssinian_{index:02}" for index in range(10)] + ["pug_1"]
    write_pets(tmp_path, dict.fromkeys(names, trimap), test=("pug_1",))
    found = {split: open_dataset(DataSettings(name="oxford_pets", root=tmp_path), split) for split in ("train", "val", "test")}
    assert {split: len(dataset) for split, dataset in found.items()} == {"train": 8, "val": 2, "test": 1}
    assert found["val"].classes.names == ("background", "pet")
    assert found["val"].sample(0).labels[0, :3].tolist() == [1, IGNORE, 0]
    three = open_dataset(DataSettings(name="oxford_pets3", root=tmp_path), "test")
    three.check()
    assert len(three.classes) == 3
    assert three.sample(0).labels[0, :3].tolist() == [1, 2, 0]


def test_a_list_that_is_missing_is_told(tmp_path: Path) -> None:
    write_pets(tmp_path, {"pug_1": np.ones(SIZE, dtype=np.uint8)})
    (tmp_path / "annotations" / "trainval.txt").unlink()
    with pytest.raises(DatasetError, match=r"trainval\.txt: cannot be read"):
        open_dataset(DataSettings(name="oxford_pets", root=tmp_path), "train")
