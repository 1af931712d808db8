"""A plain folder as a data set, and labels written back as their owners have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from nas_client.data.base import SPLITS, DataSettings, Split
from nas_client.data.classes import IGNORE
from nas_client.data.datasets import DATASETS, dataset_names, labelling_of, open_dataset
from nas_client.data.folder import FolderClasses
from nas_client.data.image_files import FileDataset
from nas_client.errors import DatasetError
from nas_client.testing import DatasetSuite
from tests.support.data_layouts import SIZE, picture, save, write_folder


class TestFolder(DatasetSuite):
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def files(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        root = tmp_path_factory.mktemp("folder")
        write_folder(root, {f"{split}/{index}": np.full(SIZE, index, np.uint8) for split in SPLITS for index in range(3)})
        cls.settings = DataSettings(name="folder", root=root)


def test_ids_become_classes_in_the_order_of_the_list(tmp_path: Path) -> None:
    ids = np.full(SIZE, 200, dtype=np.uint8)
    ids[0, :4] = (7, 1, 255, 7)
    write_folder(
        tmp_path,
        {"a": ids, "b": ids},
        classes=[{"name": "car", "id": 7, "colour": [0, 0, 142]}, "road", {"name": "sky", "id": 200}],
        ignore=[255, 9],
    )
    dataset = open_dataset(DataSettings(name="folder", root=tmp_path), "val")
    dataset.check()
    assert dataset.classes.names == ("car", "road", "sky")
    assert dataset.classes.colours[0] == (0, 0, 142)
    assert dataset.sample(0).labels[0, :5].tolist() == [0, 1, IGNORE, 0, 2]


def test_images_without_folders_for_splits_are_split_by_name(tmp_path: Path) -> None:
    write_folder(tmp_path, {f"{index:02}": np.full(SIZE, index % 2, np.uint8) for index in range(11)}, suffix=".JPG")
    found = {split: _names(tmp_path, split) for split in ("train", "val")}
    assert found["val"] == ["00", "05", "10"]
    assert sorted(found["train"] + found["val"]) == [f"{index:02}" for index in range(11)]
    with pytest.raises(DatasetError, match="no images for testing"):
        _names(tmp_path, "test")


def _names(root: Path, split: Split) -> list[str]:
    dataset = open_dataset(DataSettings(name="folder", root=root), split)
    assert isinstance(dataset, FileDataset)
    return [pair.image.stem for pair in dataset.pairs]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"classes": ["road"]}, "classes"),
        ({"classes": ["road", "road"]}, "name 'road' occurs more than once"),
        ({"classes": ["road", {"name": "car", "id": 0}]}, "id 0 occurs more than once"),
        ({"classes": [{"name": "a", "id": 255}, "b"]}, "id 255 occurs more than once"),
        ({"classes": [{"name": "a", "colour": [1, 2, 3]}, {"name": "b", "colour": [1, 2, 3]}]}, r"colour \(1, 2, 3\) occurs"),
        ({"classes": [{"name": "a", "id": 256}, "b"]}, "256"),
        ({"names": ["road", "car"]}, "names: there is no such field"),
        (["road", "car"], "a mapping of fields is needed"),
        ("classes: [", "not YAML"),
    ],
)
def test_what_is_wrong_with_the_classes_is_said(tmp_path: Path, document: Any, message: str) -> None:
    write_folder(tmp_path, {"a": np.zeros(SIZE, np.uint8)})
    text = document if isinstance(document, str) else yaml.safe_dump(document)
    (tmp_path / "classes.yaml").write_text(text)
    with pytest.raises(DatasetError, match=message) as refused:
        open_dataset(DataSettings(name="folder", root=tmp_path), "val")
    assert "classes.yaml" in str(refused.value)
    assert refused.value.hint


def test_what_is_wrong_with_the_files_is_said(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": np.full(SIZE, 3, np.uint8), "b": np.zeros(SIZE, np.uint8)})
    settings = DataSettings(name="folder", root=tmp_path)
    with pytest.raises(DatasetError, match="unknown label ids 3 at 48 pixels") as unknown:
        open_dataset(settings, "val").check()
    assert "classes.yaml" in unknown.value.hint
    save(tmp_path / "labels" / "a.png", picture(0))
    with pytest.raises(DatasetError, match="mode RGB; labels hold one id per pixel"):
        open_dataset(settings, "val").check()
    Image.new("RGB", (8, 6)).save(tmp_path / "images" / "a.webp")
    with pytest.raises(DatasetError, match=r"a\.webp and .*a\.png would have the same labels"):
        open_dataset(settings, "val")
    (tmp_path / "images" / "a.webp").rename(tmp_path / "images" / "notes.txt")
    with pytest.raises(DatasetError, match=r"notes\.txt is no image"):
        open_dataset(settings, "val")
    (tmp_path / "images" / "notes.txt").rename(tmp_path / "images" / ".hidden")
    (tmp_path / "classes.yaml").unlink()
    with pytest.raises(DatasetError, match=r"classes\.yaml: cannot be read"):
        open_dataset(settings, "val")


@pytest.mark.parametrize("name", dataset_names())
def test_labels_are_written_as_their_owner_has_them(name: str, tmp_path: Path) -> None:
    """What is written is read as the same classes, and what counts is written in known values."""
    write_folder(tmp_path, {})
    settings = DataSettings(name=name, root=tmp_path)
    labelling = labelling_of(settings)
    ids = np.arange(len(labelling.classes), dtype=np.uint8)[None]
    written = labelling.encode(ids)
    cls = DATASETS.get(name)
    if name == "folder":
        assert written.tolist() == [[0, 1, 2]]
    elif issubclass(cls, FileDataset):
        assert np.array_equal(cls.decoder.decode(Image.fromarray(written), Path(name)), ids)
    else:
        assert np.array_equal(written, ids)


def test_owners_values() -> None:
    def written(name: str, label: str) -> Any:
        labelling = labelling_of(DataSettings(name=name))
        return labelling.encode(np.array([[labelling.classes.id_of(label)]], dtype=np.uint8))[0, 0].tolist()

    assert written("cityscapes", "road") == 7
    assert written("cityscapes", "bicycle") == 33
    assert written("camvid", "building") == [128, 0, 0]
    assert written("camvid32", "Void") == [0, 0, 0]
    assert written("oxford_pets", "pet") == 1


def test_colours_that_are_not_stated_differ_from_those_that_are() -> None:
    classes = FolderClasses.parse(
        {"classes": [f"class {index}" for index in range(253)] + [{"name": "x", "colour": [128, 0, 0]}]}
    )
    shown = classes.shown()
    assert len(set(shown.colours)) == 254
    assert (0, 0, 0) not in shown.colours
