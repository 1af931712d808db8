"""`search` as a command: what it prints, and how it ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import yaml

from models.spec.architectures import SpaceSpec
from models.spec.errors import ExitCode
from models.spec.scale import Scale
from models.spec.table_files import TableFormat, write_table
from models.spec.tables import Table
from nas_client.data.datasets import SyntheticStreets
from nas_client.errors import DivergenceError
from nas_client.search.config import SearchConfig
from nas_client.search.outcome import SearchResult
from nas_client.search.updates import WeightUpdate
from nas_client.selection.outcome import SelectionResult
from tests.support.client_command import Command
from tests.support.client_command import command_fixture as command_fixture
from tests.support.fake_service import make_table
from tests.support.searches import small, small_table


@pytest.fixture
def arguments(tmp_path: Path) -> list[object]:
    table, config = tmp_path / "table.parquet", tmp_path / "search.yaml"
    write_table(small_table().table, table, TableFormat.PARQUET)
    config.write_text(yaml.safe_dump(small().model_dump(mode="json")))
    return ["search", "--table", table, "--config", config, "-o", tmp_path / "run"]


def test_a_whole_run(nas_client: Command, arguments: list[object], tmp_path: Path) -> None:
    ended = nas_client(*arguments, "--set", "search.epochs=1", "--json")
    assert ended.code == ExitCode.DONE
    result = SearchResult.parse(ended.document)
    assert result.finished
    assert result.epochs == 2
    assert (tmp_path / "run" / "student.json").exists()
    assert "search epoch 0" in ended.err
    again = nas_client(*arguments, "--set", "search.epochs=1", "--resume")
    assert again.code == ExitCode.DONE
    assert again.out.count("chosen") == 2
    assert "the latency loss took" in again.out


def test_a_table_that_cannot_be_trusted_is_said_before_the_search(
    nas_client: Command, arguments: list[object], tmp_path: Path
) -> None:
    table = small_table().table
    unsettled = Scale(reference_ms=1.0, unsettled="no visit was quiet")
    info = table.info.model_copy(update={"scale": unsettled})
    write_table(Table(info=info, entries=table.entries), tmp_path / "table.parquet", TableFormat.PARQUET)
    ended = nas_client(*arguments, "--set", "search.epochs=0")
    assert ended.code == ExitCode.DONE
    assert ended.err.index("scale unsettled: no visit was quiet") < ended.err.index("pretrain epoch 0")


def test_the_check_of_images_is_shown(nas_client: Command, arguments: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[bool] = []
    monkeypatch.setattr(SyntheticStreets, "check", lambda _self, progress=None: watched.append(progress is not None))
    assert nas_client(*arguments, "--set", "search.epochs=0").code == ExitCode.DONE
    assert watched == [True, True]


def test_resumed_with_nothing_but_the_folder(nas_client: Command, arguments: list[object], tmp_path: Path) -> None:
    """The configuration is the run's own, command line and file together; one that is stated must be the same."""
    first = nas_client(*arguments, "--set", "search.epochs=1", "--json")
    bare = ["search", "--table", tmp_path / "table.parquet", "-o", tmp_path / "run", "--resume"]
    again = nas_client(*bare, "--json")
    assert again.code == ExitCode.DONE
    assert again.document == first.document
    other = nas_client(*bare, "--set", "search.epochs=3")
    assert other.code == ExitCode.BAD_INPUT
    assert "config.search.epochs: 3 here, 1 there" in other.err


def test_stopped_by_a_signal(
    nas_client: Command, arguments: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = WeightUpdate.__call__
    signals = iter([signal.SIGTERM])  # one: a second ends the process as usual

    def signalled(*given: object) -> object:
        for number in signals:
            os.kill(os.getpid(), number)
        return step(*given)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(WeightUpdate, "__call__", signalled)
        ended = nas_client(*arguments)
    assert ended.code == 130
    assert "--resume" in ended.err
    assert "no alternative of the student was evaluated yet" in ended.out
    assert nas_client(*arguments, "--resume").code == ExitCode.DONE


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["--set", "search.epoch=1"], "search.epoch"),
        (["--set", "latency.mode=decoupeld"], "decoupeld"),
        (["--set", "space={name: fasterseg, input_size: [64, 128]}"], "input_size"),
        (["--pretrained", "nowhere"], "nowhere holds no run"),
    ],
)
def test_bad_input(nas_client: Command, arguments: list[object], tmp_path: Path, changed: list[str], said: str) -> None:
    ended = nas_client(*arguments, *changed)
    assert ended.code == ExitCode.BAD_INPUT
    assert said in ended.err
    assert not (tmp_path / "run" / "epochs.jsonl").exists()


def test_what_goes_together_is_asked_of_the_tables_space(
    nas_client: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RSPNet's first phase has 300 epochs, FasterSeg's 30, and RSPNet's second 40."""
    given: list[SearchConfig] = []

    def begun(config: SearchConfig, *_: object, **__: object) -> None:
        given.append(config)
        raise DivergenceError("far enough")

    monkeypatch.setattr("nas_client.search.cosearch.search", begun)
    for space, begins in (("rspnet", 2), ("fasterseg", 0)):
        given.clear()
        table = tmp_path / f"{space}.parquet"
        write_table(make_table(SpaceSpec(name=space, input_size=(64, 64))), table, TableFormat.PARQUET)
        search = ["search", "--table", table, "-o", tmp_path / "run"]
        warm = nas_client(*search, "--set", "search.warmup_epochs=40")
        short = tmp_path / "short.yaml"
        short.write_text("pretrain: {epochs: 0}\nsearch: {epochs: 0}\n")
        second = nas_client(*search, "--config", short)
        assert len(given) == begins
        if not begins:
            assert "warmup_epochs is 40 of 30 epochs" in warm.err
            assert "are all 0" in second.err
    missing = nas_client("search", "--table", tmp_path / "none", "-o", tmp_path / "run", "--set", "search.warmup_epoch=40")
    assert "search.warmup_epoch: there is no such field" in missing.err, "before a table is looked for"


def test_a_search_by_evolution_and_a_selection_for_another_table(
    nas_client: Command, arguments: list[object], tmp_path: Path
) -> None:
    few = {"images": 2, "population": 5, "generations": 0, "shortlist": 0}
    settings = [word for name, value in few.items() for word in ("--set", f"selection.{name}={value}")]
    wrong = nas_client(*arguments, *settings, "--latency-ms", 7)
    assert wrong.code == ExitCode.USAGE
    assert "method=evolution" in wrong.err
    ended = nas_client(*arguments, *settings, "--set", "method=evolution", "--latency-ms", 7, "--latency-ms", 9)
    assert ended.code == ExitCode.DONE
    assert [line.split()[:2] for line in ended.out.splitlines()[2:4]] == [["7", "ms"], ["9", "ms"]]
    assert "10 candidates evaluated" in ended.out
    table = tmp_path / "table.parquet"
    select = ["select", tmp_path / "run", "--table", table, "-o", tmp_path / "selected", "--front"]
    found = nas_client(*select, "--json")
    assert found.code == ExitCode.DONE
    result = SelectionResult.parse(found.document)
    assert list(result.chosen) == ["front"], "goals on the command line replace those of the search"
    assert (result.known, result.trained) == (10, ())
    assert nas_client(*select).code == ExitCode.BAD_INPUT
    bare = [word for word in select if word != "--front"]
    again = nas_client(*bare, "--resume", "--json")
    assert SelectionResult.parse(again.document).chosen == result.chosen
    other = nas_client(*select, "--resume", "--set", "seed=3")
    assert other.code == ExitCode.BAD_INPUT
    assert "a selection has these from its search" in other.err
