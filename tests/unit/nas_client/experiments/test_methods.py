"""Methods side by side: what is run, what is paired, and what is said of it."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from models.spec.architectures import ArchitectureSpec
from models.spec.errors import ExitCode, InvalidSpecError
from models.spec.table_files import TableFormat, write_table
from nas_client.errors import DatasetError, ExperimentError
from nas_client.experiments.execution import Command as Run
from nas_client.experiments.latency_budget import LatencyBudget
from nas_client.experiments.method_config import preset_config
from nas_client.experiments.method_costs import method_costs
from nas_client.experiments.method_runs import MethodTrial
from nas_client.experiments.methods import MethodPoint, MethodsResult, compare_methods, differences
from nas_client.experiments.results import TrainedNetwork
from nas_client.report.page import report
from nas_client.runs.config import read_config
from nas_client.search.config import SearchConfig
from nas_client.selection.outcome import SelectionResult
from nas_client.table import LookupTable
from nas_client.train.config import TrainConfig
from nas_client.train.folder import TrainResult, read_result, save_result
from nas_client.train.predictions import ConfusionMatrix
from tests.support.client_command import Command
from tests.support.searches import small_table


@pytest.fixture(scope="module")
def table() -> LookupTable:
    return small_table()


@pytest.fixture(scope="module")
def budget(table: LookupTable) -> LatencyBudget:
    return LatencyBudget(table)


@pytest.mark.usefixtures("one_thread")
def test_all_methods_run_and_are_compared(
    nas_client: Command, tmp_path: Path, table: LookupTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands themselves, but in this process."""
    ran: list[str] = []

    def in_this_process(commands: Sequence[Run], **_: Any) -> bool:
        for command in commands:
            assert set(command.after) <= set(ran)
            assert nas_client(*command.arguments).code == ExitCode.DONE, command.name
            ran.append(command.name)
        return True

    monkeypatch.setattr("nas_client.experiments.execution.run_commands", in_this_process)
    write_table(table.table, tmp_path / "t.arrow", TableFormat.ARROW)
    folder = tmp_path / "methods"
    arguments = ["experiment", "methods", "--table", tmp_path / "t.arrow", "-o", folder, "--preset", "toy", "--seeds", 1]
    arguments += ["--set", "best_of=2"]
    ended = nas_client(*arguments, "--json")
    assert ended.code == ExitCode.DONE, ended.err
    result = MethodsResult.parse(ended.document)
    assert result == MethodsResult.parse(json.loads((folder / "methods.json").read_text()))
    (target_ms,) = result.config.targets_ms
    label = f"{target_ms:g}ms"
    assert ran == [
        *("seed 0, evolution", "seed 0, pretrain", f"seed 0, gradient-{label}"),
        *(f"seed 0, short, {label}-{index}" for index in range(2)),
        *(f"seed 0, {label}-{name}" for name in ("evolution", "gradient", "best_of", "earliest", "random0", "random1")),
        f"seed 1, noise, {label}-random0-seed1",
    ]
    here = folder / "seed0"

    def trained(name: str) -> ArchitectureSpec:
        return ArchitectureSpec.parse_json((here / name / "architecture.json").read_bytes())

    # each network is the one that its method found
    selected = SelectionResult.parse_json((here / "evolution" / "selection" / "result.json").read_bytes())
    assert trained(f"{label}-evolution") == selected.chosen[f"{target_ms:g} ms"].architecture
    assert (
        trained(f"{label}-gradient").key()
        == ArchitectureSpec.parse_json((here / f"gradient-{label}" / "student.json").read_bytes()).key()
    )
    scores = [read_result(here / "short" / f"{label}-{index}").final.mean_iou for index in range(2)]  # type: ignore[union-attr]
    best = max(range(2), key=lambda index: scores[index])
    assert trained(f"{label}-best_of") == trained(f"short/{label}-{best}")
    # short trainings never see the validation split; what is compared does
    assert read_config(TrainConfig, here / "short" / f"{label}-0" / "config.yaml").held_out == 2
    assert read_config(TrainConfig, here / f"{label}-best_of" / "config.yaml").held_out is None
    splits = [
        read_config(SearchConfig, here / name / "config.yaml").evaluation.split for name in ("pretrain", f"gradient-{label}")
    ]
    assert splits == ["selection", "selection"]
    # nobody is slower than the random networks
    estimates = {method: [p.network.estimate_ms for p in result.points if p.method == method] for method in result.scores}
    assert all(ms >= target_ms - 1e-9 for ms in estimates["random"])
    assert all(estimates[method][0] <= target_ms + 1e-9 for method in ("evolution", "best_of", "earliest"))
    assert result.noise.values == (
        tuple(
            read_result(here / name).final.mean_iou  # type: ignore[union-attr]
            for name in (f"{label}-random0", f"noise/{label}-random0-seed1")
        ),
    )
    # artifacts
    rows = list(csv.DictReader((folder / "methods.csv").read_text().splitlines()))
    assert [row["method"] for row in rows] == [point.method for point in result.points]
    assert all((folder / f"methods.{suffix}").exists() for suffix in ("md", "png", "svg"))
    assert "one seed" in (folder / "methods.md").read_text()
    assert "Experiment: methods" in report(folder)

    ran.clear()
    assert nas_client(*arguments, "--resume").code == ExitCode.DONE
    assert not ran
    again = nas_client(*arguments)
    assert again.code != ExitCode.DONE
    assert "holds an experiment already" in again.err


def point(seed: int, target_ms: float, method: str, iou: float, *, met: bool = True) -> MethodPoint:
    network = TrainedNetwork(name="n", architecture="a", estimate_ms=1.0, macs=1, parameters=1, mean_iou=iou, best_mean_iou=iou)
    return MethodPoint(seed=seed, target_ms=target_ms, method=method, network=network, met=met)


def test_differences_are_paired_by_seed_and_leave_out_networks_that_miss_their_target() -> None:
    points = [
        *(point(seed, target, "random", iou) for seed in (0, 1) for target in (5.0, 6.0) for iou in (0.1, 0.2, 0.9)),
        *(point(0, target, "evolution", 0.2 + 0.01 * target) for target in (5.0, 6.0)),
        *(point(1, target, "evolution", 0.2 + 0.03 * target) for target in (5.0, 6.0)),
        *(point(0, target, "best_of", 0.3) for target in (5.0, 6.0)),
        point(1, 5.0, "best_of", 0.4),
        point(1, 6.0, "best_of", 0.9, met=False),
    ]
    found = {(d.method, d.baseline, d.target_ms): d for d in differences(points, ("evolution", "best_of"), (5.0, 6.0))}
    assert set(found) == {
        (method, baseline, target)
        for method, baseline in (("evolution", "random"), ("evolution", "best_of"), ("best_of", "random"))
        for target in (None, 5.0, 6.0)
    }
    over_all = found["evolution", "random", None]
    assert over_all.difference is not None
    assert over_all.difference.values == pytest.approx((0.055, 0.165))  # the median of 0.1, 0.2, 0.9 is 0.2
    assert (over_all.seeds, over_all.missed) == ((0, 1), 0)
    assert (found["evolution", "best_of", None].seeds, found["evolution", "best_of", None].missed) == ((0,), 1)
    at_five = found["evolution", "best_of", 5.0]
    assert at_five.difference is not None
    assert at_five.difference.values == pytest.approx((-0.05, -0.05))
    assert found["best_of", "random", 6.0].seeds == (0,)


def test_best_of_costs_what_the_evolution_costs(table: LookupTable, budget: LatencyBudget) -> None:
    config = preset_config("cpu", table, budget, latency_ms=(7.0, 7.5))
    costs = method_costs(config, budget)
    # 320 images, 64 of them for selection; a candidate is evaluated on these, after 6 batches of 8 for its statistics
    short = 5 * 256 + (64 + 48) / 3
    assert costs.short == pytest.approx(short)
    supernet, scoring = 10 * 256 * 4, 2 * 10 * 50 * (64 + 48) / 3
    assert costs.evolution == pytest.approx(supernet + scoring + (2 * 8 + 6) * short)
    assert costs.best_of == round(costs.evolution / 2 / short)
    assert method_costs(config.model_copy(update={"best_of": 3}), budget).best_of == 3


def test_presets_differ_in_images_targets_and_what_they_ask_of_the_table(table: LookupTable, budget: LatencyBudget) -> None:
    small, cells = preset_config("cpu", table, budget), preset_config("cpu-cells", table, budget)
    assert (small.search.pretrain.crop, cells.search.pretrain.crop) == ((64, 128), (128, 256))
    assert small.training.data.image_size == (64, 128)
    assert cells.training.data.image_size == (128, 256)
    assert (len(small.targets_ms), len(cells.targets_ms)) == (1, 2)
    with pytest.raises(ExperimentError, match=r"in common; with least_share 0\.9 it may be at most 10%"):
        preset_config("cpu-cells", table, budget, ["least_share=0.9"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.seed=3", "the experiment sets search.seed itself"),
        ("training.held_out=3", "the experiment sets training.held_out itself"),
        ("noise_networks=7", "one seed has 6 random networks"),
        ("random=0", "random"),
    ],
)
def test_what_cannot_be_is_refused(table: LookupTable, budget: LatencyBudget, override: str, message: str) -> None:
    with pytest.raises(InvalidSpecError, match=message):
        preset_config("cpu", table, budget, [override])


def test_a_supernet_that_nothing_trains_is_refused_at_once(
    nas_client: Command, tmp_path: Path, table: LookupTable, budget: LatencyBudget
) -> None:
    write_table(table.table, tmp_path / "t.arrow", TableFormat.ARROW)
    arguments = ["experiment", "methods", "--table", tmp_path / "t.arrow", "-o", tmp_path / "out", "--preset", "toy"]
    arguments += ["--seeds", 1, "--set", "search.pretrain.epochs=0"]
    for estimate in ([], ["--estimate"]):
        ended = nas_client(*arguments, *estimate)
        assert ended.code != ExitCode.DONE
        told = " ".join(ended.err.split())
        assert "search.pretrain.epochs: 0, so that nothing trains the supernet of evolution and gradient" in told
        assert "Set search.pretrain.epochs to 1 or more" in told
    config = preset_config("toy", table, budget, ["search.pretrain.epochs=0"])
    with pytest.raises(InvalidSpecError, match=r"supernet of gradient$"):
        compare_methods(
            table, tmp_path / "out", config, method_costs(config, budget), budget=budget, methods=("gradient", "best_of")
        )
    assert not (tmp_path / "out").exists()
    alone = nas_client(*arguments, "--estimate", "--method", "best_of", "--method", "earliest")
    assert alone.code == ExitCode.DONE, alone.err


def test_the_best_of_short_trainings_is_not_found_on_images_without_a_label(
    tmp_path: Path, table: LookupTable, budget: LatencyBudget
) -> None:
    trial = MethodTrial(tmp_path, 0, preset_config("toy", table, budget), budget, 2, ("best_of",))
    runs = {Path(command.arguments[-1]): command.arguments for command in trial.searches()}
    assert len(runs) == 2
    judged = ConfusionMatrix(19).metrics()
    for run, arguments in runs.items():
        run.mkdir(parents=True)
        key = ArchitectureSpec.parse_json(Path(arguments[2]).read_bytes()).key()
        save_result(
            run, TrainResult(architecture=key, finished=True, epochs=1, steps=1, best_epoch=1, best=judged, final=judged)
        )
    with pytest.raises(DatasetError, match=r"no mIoU: .* \(selection\.images: 2\) has a labelled pixel"):
        trial.networks()


def test_an_estimate_does_nothing_whatever_the_crops(nas_client: Command, tmp_path: Path, table: LookupTable) -> None:
    write_table(table.table, tmp_path / "t.arrow", TableFormat.ARROW)
    threads = torch.get_num_threads()
    arguments = ["experiment", "methods", "--table", tmp_path / "t.arrow", "-o", tmp_path / "out", "--preset", "cpu"]
    one = nas_client(*arguments, "--estimate", "--json", "--at-once", 1)
    assert one.code == ExitCode.DONE
    assert torch.get_num_threads() == threads
    assert not (tmp_path / "out").exists()
    assert set(one.document["minutes"]) == {"evolution", "gradient", "best_of", "trainings", "noise"}
    assert (one.document["runs"]["trainings"], one.document["runs"]["noise"]) == (5 * (4 + 6), 4 * 2)
    assert one.document["total_minutes"] == pytest.approx(sum(one.document["minutes"].values()))
