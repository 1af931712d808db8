"""What all experiments have in common: their names, phases, runs, files and parts of a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main
from matplotlib.figure import Figure

from models.spec.base import Record
from models.spec.errors import InvalidSpecError
from nas_client.cli.experiment import app
from nas_client.cli.experiment_parts import conduct
from nas_client.errors import ExperimentError, RunFolderError
from nas_client.experiments.execution import Command, carry_out
from nas_client.experiments.experiment import Experiment, Plot, Points, markdown, write
from nas_client.experiments.presets import configured
from nas_client.experiments.registry import EXPERIMENTS
from nas_client.experiments.runs import Training, training_commands
from nas_client.report.blocks import render
from nas_client.report.experiments import experiment_section
from nas_client.runs.manifest import Kind, begin_run, read_manifest
from nas_client.train.config import TrainConfig
from tests.support.run_samples import decoded, write_training


class Heights(Record):
    """A result."""

    metres: tuple[float, ...]


def _plot(result: Heights) -> Figure:
    figure = Figure()
    figure.subplots().plot(result.metres)
    return figure


HEIGHTS = Experiment(
    name="collapse",
    title="heights",
    result=Heights,
    words=lambda result: f"There are {len(result.metres)} trees.",
    rows=lambda result: [("highest (m)",), (f"{max(result.metres):.1f}",)],
    caption="The highest.",
    plots=(Plot("trees", _plot, "All trees."),),
    points=Points(lambda result: [("tree", "m"), *((str(i), f"{m:g}") for i, m in enumerate(result.metres))], in_file=True),
)


def test_every_experiment_has_a_command_and_a_kind_of_its_name() -> None:
    names = [experiment.name for experiment in EXPERIMENTS]
    assert len(set(names)) == len(names)
    assert set(names) == set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert set(get_args(Kind)) - set(names) == {"search", "selection", "training", "evaluation", "validation"}
    figures = [plot.name for experiment in EXPERIMENTS for plot in experiment.plots]
    assert len(set(figures)) == len(figures)


def test_a_result_becomes_files_and_a_part_of_the_page(tmp_path: Path) -> None:
    result = Heights(metres=(3.5, 12))
    write(HEIGHTS, result, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("collapse.json", "collapse.md", "collapse.csv", "trees.png", "trees.svg")
    }
    assert Heights.parse_json(HEIGHTS.file(tmp_path).read_bytes()) == result
    assert (tmp_path / "collapse.md").read_text() == "| highest (m) |\n| --- |\n| 12.0 |\n"
    assert (tmp_path / "collapse.csv").read_text() == "tree,m\n0,3.5\n1,12\n"
    page = render("trees", [experiment_section(HEIGHTS, result, 0), experiment_section(HEIGHTS, result, 1)])
    for shown in ("Experiment: heights", "There are 2 trees.", "The highest.", "All trees.", "<td>3.5</td>", "All networks."):
        assert page.count(shown) >= 2, shown


def test_bars_within_cells_are_no_columns() -> None:
    """Rows of FasterSeg's Table 3 have them in their names."""
    assert markdown([("row", "mIoU"), ("O, s | b = 1", "66.9")]).splitlines()[-1] == r"| O, s \| b = 1 | 66.9 |"


def test_a_command_shows_rows_and_words_of_a_folder_of_its_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def carried_out(kind: Kind) -> None:
        def run(*, folder: Path, **_: Any) -> Heights:
            begin_run(folder, kind)
            return Heights(metres=(3.5, 12))

        conduct(HEIGHTS, run, tmp_path / kind, preset="cpu", at_once=1, resume=False, json=False)

    carried_out("collapse")
    shown = capsys.readouterr().out
    assert "highest (m)" in shown
    assert "There are 2 trees." in shown
    with pytest.raises(AssertionError, match="collapse was carried out in a folder of kind random"):
        carried_out("random")
    assert [path.name for path in (tmp_path / "random").iterdir()] == ["run.json"]


@pytest.mark.parametrize("override", ["seed=7", "search.seed=7", "training.seed=7"])
def test_a_seed_is_the_experiments_own(override: str) -> None:
    with pytest.raises(InvalidSpecError, match=f"'{override}': the experiment sets {override[:-2]} itself"):
        configured(TrainConfig, "fasterseg", {}, [override], part="training")
    assert configured(TrainConfig, "fasterseg", {}, ["epochs=7"], part="training").epochs == 7


def _phases(asked: list[str], *names: str) -> Iterator[Command]:
    asked.extend(f"asked for {name}" for name in names)
    return (Command(name, (), Path(f"{name}.log")) for name in names)


def test_a_phase_is_asked_once_the_one_before_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    ends_in_time = True

    def run(commands: Sequence[Command], *, progress: Any, **_: Any) -> bool:
        ran.extend(command.name for command in commands)
        progress(len(commands), len(commands), ())
        return ends_in_time

    monkeypatch.setattr("nas_client.experiments.execution.run_commands", run)
    told: list[tuple[int, int]] = []

    def carried_out(*, resume: bool) -> bool:
        phases = (lambda: _phases(ran, "a", "b"), lambda: _phases(ran, "c"))
        return carry_out(
            *(tmp_path, "random", None, TrainConfig(), phases),
            resume=resume,
            progress=lambda done, total, _: told.append((done, total)),
        )

    assert carried_out(resume=False)
    assert ran == ["asked for a", "asked for b", "a", "b", "asked for c", "c"]
    assert told == [(2, 2), (3, 3)]
    assert read_manifest(tmp_path).kind == "random"
    with pytest.raises(ExperimentError, match="holds an experiment already"):
        carried_out(resume=False)
    with pytest.raises(RunFolderError, match="of kind random, not methods"):
        carry_out(tmp_path, "methods", None, TrainConfig(), (), resume=True)
    ran.clear()
    ends_in_time = False
    assert not carried_out(resume=True)
    assert ran == ["asked for a", "asked for b", "a", "b"]


def test_trainings_wait_for_their_teacher_and_are_resumed(tmp_path: Path) -> None:
    network = decoded("8,32", 0)
    teacher = Training(tmp_path / "teacher", network)
    student = Training(tmp_path / "cell" / "student.2", network, teacher)

    def left() -> list[Command]:
        return list(training_commands(TrainConfig(seed=3), tmp_path / "config.yaml", [teacher, student]))

    first, second = left()
    assert (first.name, first.after) == ("seed 3, teacher", ())
    assert (second.name, second.after) == ("seed 3, cell, student.2", ("seed 3, teacher",))
    assert second.arguments[-2:] == ("--teacher", str(teacher.run))
    assert second.log == tmp_path / "cell" / "student.2.log"
    assert (tmp_path / "cell" / "student.2.json").exists()
    write_training(teacher.run, network, mean_iou=0.5)
    begin_run(student.run, "training")
    (second,) = left()
    assert second.after == ()
    assert second.arguments[-1] == "--resume"
