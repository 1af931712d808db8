"""Found students against random networks: which are drawn, what is trained, and what is made of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models.spaces.fasterseg.space import FasterSegSpace
from models.spaces.registry import create_space
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.errors import ExitCode, MissingEntryError
from models.spec.table_files import TableFormat, write_table
from models.spec.tables import Table
from nas_client.errors import ExperimentError
from nas_client.estimates import estimate
from nas_client.experiments.collapse import preset_config as collapse_config
from nas_client.experiments.latency_matched import BASELINES, Baseline, latency_matched
from nas_client.experiments.random_artifacts import random_sentence
from nas_client.experiments.random_networks import RandomResult, compare, preset_config
from nas_client.experiments.results import read_trained
from nas_client.runs.config import read_config, write_config
from nas_client.search.config import SearchConfig
from nas_client.table import LookupTable
from nas_client.train.config import TrainConfig
from nas_client.train.folder import TrainResult
from tests.support import choosy_space  # noqa: F401 - makes its space known
from tests.support.client_command import Command
from tests.support.fake_service import make_table
from tests.support.fasterseg_networks import branches_of
from tests.support.run_samples import SPACE, decoded, write_search, write_training

TINY = ("epochs=1", "data.train_images=2", "data.val_images=1", "batch_size=2", "validation.statistics_batches=0")


@pytest.fixture(scope="module")
def table() -> LookupTable:
    return LookupTable(make_table(SPACE.spec))


@pytest.fixture(scope="module")
def found() -> ArchitectureSpec:
    return decoded("8,32", 1)


def search_folder(path: Path, seed: int) -> Path:
    """A finished search."""
    write_search(path)
    write_config(SearchConfig(seed=seed), path / "config.yaml")
    (path / "student.json").write_text(decoded("8,32", seed).model_dump_json())
    (path / "teacher.json").write_text(decoded("8,16", seed, role="teacher").model_dump_json())
    return path


def write_trained(folder: Path, search: Path, table: LookupTable, networks: int, ious: list[float]) -> None:
    """The trainings of one seed: the teacher, the student, so many sampled and so many decoded networks with those mIoU."""
    seed = read_config(SearchConfig, search / "config.yaml").seed
    student, teacher = (ArchitectureSpec.parse_json((search / f"{role}.json").read_bytes()) for role in ("student", "teacher"))
    named = {"teacher": teacher, "student": student}
    for baseline, prefix in BASELINES.items():
        random, _ = latency_matched(student, table, networks=networks, tolerance=0.1, seed=seed, baseline=baseline)
        named |= {f"{prefix}{index}": network for index, network in enumerate(random)}
    for (name, network), iou in zip(named.items(), ious, strict=True):
        write_training(folder / f"seed{seed}" / name, network, mean_iou=iou)


@pytest.mark.parametrize("baseline", BASELINES)
def test_random_networks_are_as_fast_all_different_and_follow_from_the_seed(
    table: LookupTable, found: ArchitectureSpec, baseline: Baseline
) -> None:
    wanted_ms = estimate(found, table).sum_ms
    networks, tried = latency_matched(found, table, networks=6, tolerance=0.05, seed=3, baseline=baseline)
    assert len({network.key() for network in (found, *networks)}) == 7
    assert all(abs(estimate(network, table).sum_ms / wanted_ms - 1) <= 0.05 for network in networks)
    assert tried >= 6
    assert latency_matched(found, table, networks=6, tolerance=0.05, seed=3, baseline=baseline) == (networks, tried)
    assert latency_matched(found, table, networks=6, tolerance=0.05, seed=4, baseline=baseline)[0] != networks


def test_decoded_networks_keep_no_operator_that_a_search_would_drop(table: LookupTable, found: ArchitectureSpec) -> None:
    sampled, _ = latency_matched(found, table, networks=20, tolerance=0.3, seed=3)
    decoded_, _ = latency_matched(found, table, networks=20, tolerance=0.3, seed=3, baseline="decoded")

    def idle(network: ArchitectureSpec) -> bool:
        return any(kind in FasterSegSpace.idle_operators for branch in branches_of(network) for kind in branch.operators)

    assert any(map(idle, sampled))
    assert not any(map(idle, decoded_))
    assert len({branches_of(network)[0].scales for network in decoded_}) > 1


def test_too_few_of_that_latency_is_said(table: LookupTable, found: ArchitectureSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas_client.experiments.latency_matched.MOST_TRIES", 30)
    with pytest.raises(ExperimentError, match=r"of 30 random architectures \d+ are estimated at .* ms ± 0%; 5 are needed"):
        latency_matched(found, table, networks=5, tolerance=1e-6, seed=0)


def test_found_students_are_compared_with_their_own_seeds_networks(tmp_path: Path, table: LookupTable) -> None:
    searches = [search_folder(tmp_path / f"search{seed}", seed) for seed in (1, 2)]
    folder = tmp_path / "experiment"
    write_trained(folder, searches[0], table, 3, [0.5, 0.4, 0.2, 0.3, 0.45, 0.1, 0.2, 0.5])
    write_trained(folder, searches[1], table, 3, [0.6, 0.2, 0.3, 0.31, 0.1, 0.1, 0.0, 0.15])
    result = compare(searches, table, folder, TrainConfig(), networks=3)
    assert result is not None
    first, second = result.groups
    assert (first.seed, first.teacher.mean_iou, first.found.mean_iou) == (1, 0.5, 0.4)
    assert [random.median for random in first.random.values()] == [0.3, 0.2]
    assert first.found.best_mean_iou == pytest.approx(0.44)
    assert [network.mean_iou for network in second.random["sampled"].networks] == [0.3, 0.31, 0.1]
    assert [network.name for network in second.random["decoded"].networks] == ["decoded0", "decoded1", "decoded2"]
    sampled, decoded_ = result.judgements["sampled"], result.judgements["decoded"]
    assert sampled.gain.values == pytest.approx((0.1, -0.1))
    assert decoded_.gain.values == pytest.approx((0.2, 0.1))
    assert (sampled.seeds_won, sampled.beaten) == (1, 0.5)
    assert (decoded_.seeds_won, decoded_.beaten) == (2, pytest.approx(5 / 6))
    assert sampled.random.mean == pytest.approx(np.mean([0.2, 0.3, 0.45, 0.3, 0.31, 0.1]))
    sentence = random_sentence(result)
    assert "Against sampled networks the found student is above its seed's median for 1 of 2 seeds" in sentence
    assert "above 50% of the 6 (" in sentence
    assert "Against decoded networks the found student is above its seed's median for 2 of 2 seeds" in sentence


@pytest.mark.parametrize(("split", "favoured"), [("val", True), ("selection", False)])
def test_a_choice_by_the_images_of_the_comparison_is_said(
    tmp_path: Path, table: LookupTable, split: str, favoured: bool
) -> None:
    """The search has chosen one pair of branches of three by its mIoU."""
    search, folder = search_folder(tmp_path / "search", 5), tmp_path / "experiment"
    write_config(SearchConfig.parse({"seed": 5, "evaluation": {"split": split}}), search / "config.yaml")
    write_trained(folder, search, table, 1, [0.5, 0.4, 0.2, 0.3])
    result = compare([search], table, folder, TrainConfig(), networks=1)
    assert result is not None
    assert result.chosen_on_validation == favoured
    assert ("evaluation.split=selection" in random_sentence(result)) == favoured


def test_the_command_writes_json_table_and_figure(nas_client: Command, tmp_path: Path, table: LookupTable) -> None:
    write_table(table.table, tmp_path / "t.arrow", TableFormat.ARROW)
    search, folder = search_folder(tmp_path / "search", 5), tmp_path / "experiment"
    write_trained(folder, search, table, 2, [0.5, 0.4, 0.2, 0.3, 0.1, 0.2])
    arguments = ["experiment", "random", "--table", tmp_path / "t.arrow", "--search", search, "-o", folder, "--networks", 2]
    ended = nas_client(*arguments, "--json")
    assert ended.code == ExitCode.DONE
    assert RandomResult.parse(ended.document) == RandomResult.parse(json.loads((folder / "random.json").read_text()))
    assert "| 5 | 40.00 | 25.00 | 20.00 to 30.00 |" in (folder / "random.md").read_text()
    assert all((folder / f"random.{suffix}").exists() for suffix in ("png", "svg"))
    again = nas_client(*arguments, "--resume", "--networks", 1, "--baseline", "decoded")
    assert again.code == ExitCode.DONE
    assert "decoded networks" in again.out
    assert "sampled" not in again.out


def test_an_unknown_kind_is_a_usage_error(nas_client: Command, tmp_path: Path) -> None:
    ended = nas_client("experiment", "random", "--table", "t", "--search", "s", "-o", tmp_path, "--baseline", "drawn")
    assert ended.code == ExitCode.USAGE
    assert "--baseline 'drawn' is none of sampled, decoded" in ended.err


def test_two_searches_of_one_seed_are_refused(tmp_path: Path, table: LookupTable) -> None:
    searches = [search_folder(tmp_path / name, 1) for name in ("one", "two")]
    with pytest.raises(ExperimentError, match="searches of the same seed"):
        compare(searches, table, tmp_path / "experiment", TrainConfig(), networks=1)


def test_an_unfinished_search_is_refused(tmp_path: Path, table: LookupTable) -> None:
    write_search(tmp_path / "search", finished=False)
    with pytest.raises(ExperimentError, match="holds no finished search"):
        compare([tmp_path / "search"], table, tmp_path / "experiment", TrainConfig())


def lacking(table: LookupTable, network: ArchitectureSpec, index: int) -> LookupTable:
    """The table without that operator of a network."""
    key = create_space(table.info.space).architecture_operators(network)[index].key()
    return LookupTable(Table(info=table.info, entries=tuple(entry for entry in table.table.entries if entry.key() != key)))


def test_a_missing_entry_counts_as_zero_nowhere(tmp_path: Path, table: LookupTable, found: ArchitectureSpec) -> None:
    search = search_folder(tmp_path / "search", 1)
    teacher = ArchitectureSpec.parse_json((search / "teacher.json").read_bytes())
    with pytest.raises(MissingEntryError, match="1 operators have no value"):  # before hours of training
        compare([search], lacking(table, teacher, -1), tmp_path / "experiment", TrainConfig(), networks=1)
    assert not (tmp_path / "experiment").exists()
    less = lacking(table, found, 3)
    with pytest.raises(MissingEntryError, match="no value for"):
        latency_matched(found, less, networks=1, tolerance=0.1, seed=0)
    write_training(tmp_path / "run", found)
    with pytest.raises(MissingEntryError, match="no value for"):
        read_trained(tmp_path / "run", found, less, hint="")
    assert read_trained(tmp_path / "run", found, table, hint="").estimate_ms == estimate(found, table).sum_ms


def test_the_training_of_another_architecture_is_not_taken_for_it(tmp_path: Path, table: LookupTable) -> None:
    search, folder = search_folder(tmp_path / "search", 5), tmp_path / "experiment"
    write_trained(folder, search, table, 1, [0.5, 0.4, 0.2, 0.3])
    write_training(folder / "seed5" / "random0", decoded("8,16", 77))
    with pytest.raises(ExperimentError, match="training of another architecture"):
        compare([search], table, folder, TrainConfig(), networks=1)


def test_trainings_begin_with_what_the_space_says(tmp_path: Path) -> None:
    """A preset changes their size. Its learning rate is for SGD, and left out where the space steps by another method."""
    there = LookupTable(make_table(SpaceSpec(name="choosy", input_size=(16, 24))))
    published, small = preset_config("published", there), preset_config("cpu", there)
    assert (published.epochs, published.optimizer.lr, published.losses.kind) == (7, 2e-3, "dice")
    assert (small.epochs, small.optimizer.lr, small.optimizer.method) == (30, 2e-3, "adam")
    path = tmp_path / "train.yaml"
    path.write_text("batch_size: 3")
    assert (preset_config("cpu", there, path).batch_size, preset_config("cpu", there, path).epochs) == (3, 7)
    searches = collapse_config("cpu", there)
    assert (searches.search.optimizer.lr, searches.pretrain.optimizer.lr, searches.loss) == (1e-3, 0.05, "dice")


def test_of_fastersegs_trainings_a_preset_sets_the_rate(table: LookupTable) -> None:
    assert preset_config("cpu", table).optimizer.lr == 0.05
    assert preset_config("published", table) == TrainConfig()


@pytest.mark.slow
def test_real_trainings(tmp_path: Path, table: LookupTable) -> None:
    search = search_folder(tmp_path / "search", 5)
    config = preset_config("cpu", table, overrides=TINY)
    told: list[tuple[str, ...]] = []
    folder = tmp_path / "experiment"
    options = {"networks": 1, "at_once": 2}
    result = compare(
        [search], table, folder, config, **options, progress=lambda _done, _total, running: told.append(tuple(running))
    )
    assert result is not None
    assert told[0] == ("seed 5, teacher",)  # nothing beside it: the others need it
    trained = TrainResult.parse_json((folder / "seed5" / "student" / "result.json").read_bytes())
    assert trained.final is not None
    assert result.groups[0].found.mean_iou == trained.final.mean_iou
    assert "distillation" in (folder / "seed5" / "student.log").read_text()
    assert compare([search], table, folder, config, **options, resume=True) == result
