"""The demo of all spaces: its commands, what it says of results, and its exit code. Nothing is measured or trained here."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from models.spaces.registry import create_space, space_names
from models.spec.architectures import SpaceSpec
from models.spec.errors import ExitCode
from models.spec.verdicts import TrustLevel
from models.terminal import parse_parameter, parse_size
from nas_client.data.base import DataSettings
from nas_client.data.datasets import labelling_of
from nas_client.runs.config import read_config
from nas_client.search.config import SearchConfig
from nas_client.train.config import TrainConfig
from tests.support.repository import ROOT
from tests.support.scripts import load_script
from tests.unit.repository.test_documentation import resolve

OWN = ("fasterseg", "mfasterseg", "rspnet", "search_net")


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    with load_script("demo_spaces") as module:
        yield module


def journal(folder: Path, *lines: dict[str, Any]) -> None:
    folder.mkdir(parents=True)
    (folder / "epochs.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


class Commands:
    """Takes the place of `nas-client`: keeps the words of each command, and writes what the demo reads."""

    def __init__(self, output: Path, role: str, alternatives: tuple[str, ...]) -> None:
        self.output, self.role, self.alternatives = output, role, alternatives
        self.words: list[list[str]] = []

    def __call__(self, *arguments: object) -> Any:
        words = list(map(str, arguments))
        self.words.append(words)
        return getattr(self, f"_{words[0]}", dict)()

    def _profile(self) -> Any:
        return {"table_id": "0123456789abcdef"}

    def _search(self) -> Any:
        epochs = ({"losses": {f"weights_{self.role}": loss}} for loss in (3.0, 2.0))
        journal(self.output / "search", *epochs)
        return {"candidates": {self.role: [{"alternative": name, "accuracy": 0.1} for name in self.alternatives]}}

    def _train(self) -> Any:
        if "epochs=1" not in self.words[-1]:
            journal(self.output / self.role, {"segmentation": 2.5}, {"segmentation": 1.0})
        return {"final": {"mean_iou": 0.01}}

    def _evaluate(self) -> Any:
        folder = self.output / "evaluation" / self.role
        folder.mkdir(parents=True)
        rows = ("labelled as,predicted a,predicted b,predicted c", "a,50,10,0", "b,10,30,0", "c,0,0,0")
        (folder / "confusion.csv").write_text("\n".join(rows))
        return {"metrics": {"mean_iou": 0.5}}

    def _validate(self) -> Any:
        return {"named": [{"sum_ms": 1.1, "measured_ms": 1.0}], "verdict": {"level": "noisy"}}


def commands_of(demo: ModuleType, name: str, output: Path) -> tuple[Commands, Any]:
    size = demo.SIZES[name]
    space = create_space(spec_of(demo, name))
    run = Commands(output, size.role, space.alternatives())
    steps = demo.SearchSteps(output, "http://127.0.0.1:1", name, size.input_size, size.parameters, size.classes, run)
    steps.write_configs(size.search, size.train)
    return run, demo.run_space(steps, size.role)


def spec_of(demo: ModuleType, name: str) -> SpaceSpec:
    size = demo.SIZES[name]
    parameters = dict(parse_parameter(f"{key}={value}") for key, value in size.parameters.items())
    given = {"name": name, "input_size": parse_size(size.input_size), "classes": size.classes, "parameters": parameters}
    return SpaceSpec.parse(given)


def test_every_space_of_this_project_has_its_turn(demo: ModuleType) -> None:
    assert set(demo.SIZES) == {name for name in space_names() if name in OWN} == set(OWN)


@pytest.mark.parametrize("name", OWN)
def test_the_commands_of_a_space_are_those_that_a_user_could_type(demo: ModuleType, tmp_path: Path, name: str) -> None:
    run, outcome = commands_of(demo, name, tmp_path)
    order = ["profile", "pull", "search", "derive", "train", "train", "evaluate", "validate", "report"]
    assert [words[0] for words in run.words] == order
    for words in run.words:
        command, rest = resolve(["nas-client", *words])
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in rest if word.startswith("-")} <= known, words
    assert ("--accuracies" in run.words[3]) is (len(create_space(spec_of(demo, name)).alternatives()) > 1)
    assert outcome.one_class_iou == pytest.approx(0.3)  # 60 of 100 pixels, and two classes that occur
    assert (outcome.untrained_iou, outcome.trained_iou) == (0.01, 0.5)
    assert (outcome.searched, outcome.trained) == ([3.0, 2.0], [2.5, 1.0])
    assert outcome.complaints() == []


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("quick", [False, True])
def test_the_sizes_are_such_as_the_space_takes(demo: ModuleType, tmp_path: Path, name: str, quick: bool) -> None:
    size, space = demo.SIZES[name], create_space(spec_of(demo, name))
    steps = demo.SearchSteps(tmp_path, "", name, size.input_size, size.parameters, size.classes)
    configs = (size.search, size.train)
    steps.write_configs(*(demo.quick(*configs) if quick else configs))
    defaults = space.search_defaults
    search = read_config(SearchConfig, tmp_path / "search.yaml", [], base=defaults.model_dump(exclude={"training"}))
    train = read_config(TrainConfig, tmp_path / "train.yaml", [*demo.UNTRAINED[1::2]], base=defaults.training.model_dump())
    assert train.optimizer.lr == 1e-9
    assert [search.epochs(phase) for phase in ("pretrain", "search", "second")] == [
        min(size.search.get(phase, {}).get("epochs", 0), 1) if quick else size.search.get(phase, {}).get("epochs", 0)
        for phase in ("pretrain", "search", "second")
    ]
    for config in (search, train):
        assert isinstance(config.data, DataSettings)
        assert len(labelling_of(config.data).classes) == size.classes
        assert config.data.images("train") >= train.batch_size
    assert size.role == space.searched_role().name


def test_what_is_not_good_enough_is_said_and_decides_the_exit_code(
    demo: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, good = commands_of(demo, "rspnet", tmp_path)
    assert demo.sum_up({"rspnet": good}, tmp_path) == 0
    assert "rspnet learned, and its validation is noisy." in capsys.readouterr().out
    bad = {
        "the supernet's loss went from 2.000 to 3.000": replace(good, searched=[2.0, 3.0]),
        "the training's loss went from 1.000 to 1.000": replace(good, trained=[1.0, 1.0]),
        "mIoU is 34.0%, without training 30.0%": replace(good, trained_iou=0.34),
        "mIoU is 50.0%, without training 46.0%": replace(good, untrained_iou=0.46),
        "the verdict on the validation is unusable": replace(good, verdict=TrustLevel.UNUSABLE),
    }
    for complaint, outcome in bad.items():
        assert demo.sum_up({"rspnet": good, "fasterseg": outcome}, tmp_path) == 1
        assert f"fasterseg is not good enough: {complaint}." in " ".join(capsys.readouterr().out.split())
        assert demo.sum_up({"fasterseg": outcome}, tmp_path, quick=True) == 0
        assert "fasterseg ran. --quick trains too little to judge it." in capsys.readouterr().out


def test_a_failure_that_ends_as_failed_workloads_do_is_one(
    demo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A diverged search and a table with failed entries both end with 4."""
    command = tmp_path / "nas-client"
    monkeypatch.setattr("demo_steps.BIN", tmp_path)
    for document, fails in (('{"table_id": "0123456789abcdef"}', False), ('{"error": {"message": "diverged"}}', True)):
        command.write_text(f"#!/bin/sh\necho '{document}'\nexit {ExitCode.WORKLOADS_FAILED:d}\n")
        command.chmod(0o755)
        if fails:
            with pytest.raises(demo.StepError):
                sys.modules["demo_steps"].client("search")
        else:
            assert sys.modules["demo_steps"].client("profile") == json.loads(document)


def test_it_goes_on_after_a_space_that_failed(
    demo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, good = commands_of(demo, "rspnet", tmp_path / "rspnet")
    begun = []

    class Nowhere:
        def __init__(self, output: Path) -> None:
            self.output = output

        def __enter__(self) -> str:
            return "http://127.0.0.1:1"

        def __exit__(self, *_: object) -> None:
            return

    def run_space(steps: Any, role: str) -> Any:
        begun.append((steps.space, role))
        if steps.space == "fasterseg":
            raise demo.StepError(int(ExitCode.BAD_INPUT))
        return good

    monkeypatch.setattr(demo, "service", Nowhere)
    monkeypatch.setattr(demo, "run_space", run_space)
    monkeypatch.setattr("sys.argv", ["demo_spaces.py", "--output", str(tmp_path), "--space", "fasterseg", "--space", "rspnet"])
    assert demo.main() == 1
    assert begun == [("fasterseg", "student"), ("rspnet", "network")]
    told = capsys.readouterr().out
    assert "fasterseg failed: its last command above ended with 3." in told
    assert "rspnet learned" in told
