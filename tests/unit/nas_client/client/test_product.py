"""From a found network to a product: docs/predict.md as it says, and how each bad input of its commands ends."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import IO
from zipfile import ZipFile

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from models.spec.errors import ExitCode
from nas_client.data.base import DataSettings
from nas_client.data.classes import CITYSCAPES
from nas_client.data.datasets import labelling_of
from nas_client.errors import DatasetError
from nas_client.train.cityscapes_archive import SIZE as FULL
from nas_client.train.cityscapes_archive import Archive, benchmark_name
from nas_client.train.folder import load_trained
from nas_client.train.predicting import find_images, overlay, predict_ids
from nas_client.train.predictions import Predictor
from nas_client.train.run import train
from tests.support.client_command import Command
from tests.support.data_layouts import picture, save, write_folder
from tests.support.repository import ROOT
from tests.support.trainings import small_architecture, small_config

PAGE = (ROOT / "docs" / "predict.md").read_text()


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training on generated street scenes: the classes are Cityscapes'."""
    run = tmp_path_factory.mktemp("runs") / "student"
    train(small_architecture(), small_config({"data.train_images": 4}, epochs=1), run)
    return run


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, student: Path) -> Path:
    """Where the page begins: a found architecture, its training, and a folder of images."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "student").symlink_to(student)
    (tmp_path / "student.json").write_bytes((student / "architecture.json").read_bytes())
    names = [f"train/{index}" for index in range(4)] + ["val/a", "val/b"]
    write_folder(tmp_path / "street", {name: np.full((96, 128), index % 3, np.uint8) for index, name in enumerate(names)})
    return tmp_path


def pixels(file: Path | IO[bytes]) -> NDArray[np.uint8]:
    with Image.open(file) as image:
        return np.asarray(image)


def refused(command: Command, *arguments: object, code: ExitCode = ExitCode.BAD_INPUT) -> str:
    """What a refusal says."""
    ended = command(*arguments)
    assert ended.code == code
    assert "Traceback" not in ended.err
    assert not ended.out
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", ended.err).split())


def test_the_page_works_as_it_says(nas_client: Command, place: Path) -> None:
    (commands,) = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (config,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (place / "street.yaml").write_text(config)
    for line in commands.splitlines():
        program, *words = shlex.split(line)
        assert program == "nas-client"
        quick = ["--set", "epochs=1", "--set", "label_stride=8"] if words[0] == "train" else []
        ended = nas_client(*words, *quick)
        assert ended.code == ExitCode.DONE, ended.err
    assert json.loads((place / "street.json").read_text())["input_size"] == [96, 128]
    for name in ("a", "b"):
        labels = pixels(place / "predictions" / "labels" / f"{name}.png")
        assert labels.shape == (96, 128)
        assert set(np.unique(labels)) <= {0, 1, 2}
        assert pixels(place / "predictions" / "overlays" / f"{name}.png").shape == (96, 128, 3)
    (given,) = onnx.load(place / "street.onnx").graph.output
    assert [side.dim_value for side in given.type.tensor_type.shape.dim] == [1, 96, 128]


@pytest.mark.parametrize(("data", "size"), [("camvid", "720x960"), ("bdd100k", "720x1280")])
def test_what_the_paper_transfers_to(nas_client: Command, place: Path, data: str, size: str) -> None:
    line = next(line for line in PAGE.splitlines() if f"--data {data}" in line and size in line)
    ended = nas_client(*shlex.split(line)[1:], "--json")
    assert ended.code == ExitCode.DONE
    assert ended.document["classes"] == len(labelling_of(DataSettings(name=data)).classes)
    assert ended.document["input_size"] == [int(side) for side in size.split("x")]


def test_what_cannot_be_adapted_is_refused(nas_client: Command, place: Path) -> None:
    adapt = ["adapt", "--architecture", "student.json", "-o", "moved.json"]
    assert "nothing to adapt" in refused(nas_client, *adapt, code=ExitCode.USAGE)
    assert "give --data as well" in refused(nas_client, *adapt, "--classes", 3, "--root", "street", code=ExitCode.USAGE)
    fewer = refused(nas_client, *adapt, "--data", "camvid", "--classes", 10)
    assert "has 10, data set camvid 11; it could not predict all of them" in fewer
    assert "classes" in refused(nas_client, *adapt, "--classes", 0)
    assert "unknown data set 'kitti'" in refused(nas_client, *adapt, "--data", "kitti")
    assert "folder needs the folder" in refused(nas_client, *adapt, "--data", "folder")
    assert "is not divisible by" in refused(nas_client, *adapt, "--input-size", "97x128")
    assert not (place / "moved.json").exists()


def test_weights_of_another_network_or_of_two_sources_are_refused(nas_client: Command, place: Path) -> None:
    (place / "other.json").write_text(small_architecture(16, 32).model_dump_json())
    begin = ["train", "--architecture", "other.json", "-o", "runs/other"]
    small = [f"--set={field}" for field in ("batch_size=2", "data.train_images=2", "data.val_images=1", "crop=[64,64]")]
    assert "it differs in genotype.branches" in refused(nas_client, *begin, *small, "--pretrained", "runs/student")
    both = refused(
        nas_client, *begin, "--pretrained", "runs/student", "--supernet", "runs", "--table", "t", code=ExitCode.USAGE
    )
    assert "--supernet and --pretrained exclude each other" in both
    assert "there is no run.json" in refused(nas_client, *begin, *small, "--pretrained", "runs")


def test_what_cannot_be_predicted_is_refused(nas_client: Command, place: Path) -> None:
    predict = ["predict", "--run", "runs/student", "-o", "out", "--images"]
    assert "nowhere: no such file or folder" in refused(nas_client, *predict, "nowhere")
    (place / "empty").mkdir()
    assert "no images, among 0 files" in refused(nas_client, *predict, "empty")
    (place / "drive.mp4").write_bytes(b"")
    assert "ffmpeg -i drive.mp4" in refused(nas_client, *predict, "drive.mp4")
    assert "student.json is no image" in refused(nas_client, *predict, "student.json")
    (place / "empty" / "cut.png").write_bytes((place / "street/images/val/a.png").read_bytes()[:100])
    assert "cut.png: cannot be read as an image" in refused(nas_client, *predict, "empty")
    save(place / "empty" / "cut.jpg", picture(0))
    assert "would have one label file" in refused(nas_client, *predict, "empty")
    among = refused(nas_client, *predict, "street/images", "-o", "street/images/out")
    assert "would be predicted, too" in among
    one = ["--images", "street/images/val/a.png", "--cityscapes", "a.zip"]
    assert "a.png is not named as an image of Cityscapes" in refused(nas_client, *predict[:-1], *one)
    assert not (place / "a.zip").exists()


def test_one_image_and_what_lies_beside_images(nas_client: Command, place: Path) -> None:
    one = nas_client(
        "predict", "--run", "runs/student", "--images", "street/images/val/a.png", "-o", "one", "--no-overlays", "--json"
    )
    assert one.document == {"images": 1, "left_out": 0, "labels": "one/labels", "overlays": None, "archive": None}
    assert [path.name for path in (place / "one").rglob("*.png")] == ["a.png"]
    (place / "street" / "images" / "notes.txt").write_text("")
    all_of_them = nas_client("predict", "--run", "runs/student", "--images", "street/images", "-o", "all")
    assert "6 images predicted" in all_of_them.out
    assert "1 files" in all_of_them.err
    assert (place / "all" / "labels" / "train" / "3.png").exists()


def test_labels_that_predict_did_not_write_are_kept(nas_client: Command, place: Path) -> None:
    """Whether they are a data set's or a person's; what predict wrote it replaces."""
    predict = ["predict", "--run", "runs/student", "--images", "street/images", "-o"]
    labels = place / "street" / "labels" / "val" / "a.png"
    before = labels.read_bytes()
    assert "street holds a data set" in refused(nas_client, *predict, "street")
    (place / "street" / "classes.yaml").rename(place / "classes.yaml")
    assert "exists, and is not as predict wrote it" in refused(nas_client, *predict, "street")
    assert labels.read_bytes() == before
    assert not (place / "street" / "overlays").exists()
    for _ in range(2):
        assert nas_client(*predict, "out").code == ExitCode.DONE
    again = ["predict", "--run", "runs/student", "--images", "out/overlays/val/a.png", "-o", "out/overlays/val"]
    (place / "out/overlays/val/labels").mkdir()
    (place / "out/overlays/val/labels/a.png").symlink_to(place / "out/overlays/val/a.png")
    assert "is an image to predict, and would be overwritten" in refused(nas_client, *again)
    corrected = place / "out" / "labels" / "val" / "b.png"
    save(corrected, np.zeros((96, 128), np.uint8))
    before = corrected.read_bytes()
    assert "b.png exists, and is not as predict wrote it" in refused(nas_client, *predict, "out")
    assert corrected.read_bytes() == before


def test_names_of_classes_that_do_not_fit_the_network_are_refused(nas_client: Command, place: Path) -> None:
    config = place / "runs" / "student" / "config.yaml"
    before = config.read_text()
    config.write_text(before.replace("name: synthetic_streets", "name: folder"))
    try:
        said = refused(
            nas_client, "predict", "--run", "runs/student", "--images", "street/images", "-o", "o", "--root", "street"
        )
    finally:
        config.write_text(before)
    assert "the network predicts 19, data set folder has 3" in said


def test_classes_that_changed_since_the_training_are_refused(nas_client: Command, place: Path) -> None:
    """Their number alone does not tell. Folders of earlier releases, which do not say, are taken, and that is said."""
    run, classes = place / "run", place / "street" / "classes.yaml"
    data = {"name": "folder", "root": "street"}
    train(small_architecture(classes=3), small_config(data=data, epochs=1, validation={"batch_size": 1}), run)
    predict = ["predict", "--run", run, "--images", "street/images/val/a.png", "-o", "out"]
    resume = ["train", "--resume", "-o", run]
    before = classes.read_text()
    for changed, said in (
        ("classes: [car, road, sky]", "began with 'road' (label 0) as class 0, data set folder has 'car' (label 0) now"),
        (
            "{classes: [road, {name: car, id: 7}, sky], ignore: [1]}",
            "'car' (label 1) as class 1, data set folder has 'car' (label 7) now",
        ),
    ):
        classes.write_text(changed)
        for command in (predict, resume, ["evaluate", "--run", run]):
            assert said in refused(nas_client, *command)
    (run / "classes.json").rename(place / "classes.json")
    for command in (predict, resume):
        ended = nas_client(*command)
        assert ended.code == ExitCode.DONE
        assert "has no classes.json, since an earlier release began it" in " ".join(ended.err.split())
    (place / "classes.json").rename(run / "classes.json")
    classes.write_text(before)
    for command in (predict, resume):
        ended = nas_client(*command)
        assert ended.code == ExitCode.DONE
        assert "classes.json" not in ended.err


def test_images_of_any_size_and_resized_ones_have_labels_of_their_size(student: Path) -> None:
    trained = load_trained(student)
    predictor = Predictor(trained.architecture, trained.weights, torch.device("cpu"))
    image = picture(0, (45, 70))
    whole = predict_ids(predictor, image)
    assert whole.shape == predict_ids(predictor, image, image_scale=0.5).shape == (45, 70)
    labelling = labelling_of(DataSettings())
    covered = overlay(image, whole, labelling).astype(int)
    assert np.abs(2 * covered - image - labelling.classes.paint(whole)).max() <= 1


def test_the_benchmarks_archive(nas_client: Command, place: Path) -> None:
    """Label ids under the benchmark's names; nothing is left where an image is not the benchmark's."""
    name = "berlin/berlin_000000_000019_leftImg8bit"
    save(place / "test" / f"{name}.png", picture(0, FULL))
    predict = [
        "predict",
        "--run",
        "runs/student",
        "--images",
        "test",
        "-o",
        "out",
        "--no-overlays",
        "--cityscapes",
        "student.zip",
    ]
    ended = nas_client(*predict)
    assert ended.code == ExitCode.DONE
    assert "the archive has 1 images; the benchmark's test split has 1525" in ended.err
    with ZipFile(place / "student.zip") as archive:
        assert archive.namelist() == ["berlin_000000_000019.png"]
        with archive.open("berlin_000000_000019.png") as file:
            ids = pixels(file)
    assert ids.shape == FULL
    labelling = labelling_of(DataSettings(name="cityscapes"))
    train_ids = pixels(place / "out" / "labels" / f"{name}.png")  # of generated scenes: class ids
    assert np.array_equal(ids, labelling.encode(train_ids))
    (place / "student.zip").unlink()
    save(place / "test" / "berlin" / "berlin_000001_000019_leftImg8bit.png", picture(0))
    assert "is 6×8; the benchmark's images are 1024×2048" in refused(nas_client, *predict)
    assert not list(place.glob("student.zip*"))


def test_what_the_benchmark_does_not_know_is_refused(tmp_path: Path) -> None:
    assert benchmark_name(Path("test/bad-honnef_000000_000019.png")) == "bad-honnef_000000_000019"
    with pytest.raises(DatasetError, match="is not named as an image of Cityscapes"):
        benchmark_name(Path("street.png"))
    camvid = labelling_of(DataSettings(name="camvid")).classes
    with pytest.raises(DatasetError, match="11 classes that are not Cityscapes' 19"):
        Archive(tmp_path / "a.zip", [], camvid)
    twice = [Path("a/ulm_000000_000019.png"), Path("b/ulm_000000_000019_leftImg8bit.png")]
    with pytest.raises(DatasetError, match="ulm_000000_000019 occurs more than once"):
        Archive(tmp_path / "a.zip", twice, CITYSCAPES)
    assert not any(tmp_path.iterdir())
    assert find_images(ROOT / "docs" / "images" / "correlation.png").left_out == 0
