"""`measure` for one operator: its value in context, what it prints, and how each bad input ends. Its workers are fakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from models.spec.architectures import SpaceSpec
from models.spec.graphs import ContextBase, GraphRequest
from models.spec.measurements import Status
from models.spec.operator_labels import parse_label
from models.spec.scale import Scale
from models.spec.tables import TableInfo
from profiler_service.jobs.own_operator import beside
from profiler_service.jobs.planner import MIN_LIVE
from profiler_service.storage.store import Store
from tests.support.ended import Command
from tests.support.fake_workers import DESCRIPTION, SENTINEL_MS, FakeWorkers, operator_ms

LABEL = "conv_bn_relu 8->16 @16x32 /2 kernel=5"
OPERATOR = parse_label(LABEL)
GRAPH = GraphRequest(subject=OPERATOR, in_context=True)
BASE = GraphRequest(subject=ContextBase.of(OPERATOR))

Use = Callable[[FakeWorkers], FakeWorkers]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Use:
    """Makes the command use those workers, on a device that no other test holds."""
    monkeypatch.setenv("OPCLOCK_LOCK_DIR", str(tmp_path))

    def set_workers(workers: FakeWorkers) -> FakeWorkers:
        monkeypatch.setattr("profiler_service.cli.measure_operator.open_workers", lambda settings: workers)
        return workers

    return set_workers


def test_an_operator_is_measured_in_context_beside_others(command: Command, use: Use, tmp_path: Path) -> None:
    """Its value is what its engine takes more than that of its context's base; other engines keep the caches busy."""
    workers = use(FakeWorkers())
    ended = command("measure", LABEL, "--budget", "quick", "--json")
    assert ended.code == 0, ended.err
    measured = ended.document["measurement"]
    assert measured["value_ms"] == pytest.approx(operator_ms(OPERATOR))
    assert measured["base_ms"] == pytest.approx(0.05)
    assert measured["workload"] == OPERATOR.model_dump(mode="json")
    assert ended.document["reference_ms"] is None
    engines = {artifact.request.key() for artifact in workers.groups[0].artifacts}
    assert {GRAPH.key(), BASE.key()} <= engines
    assert len(engines) >= MIN_LIVE
    assert not (tmp_path / "opclock.sqlite").exists(), "nothing is stored"


def test_for_people_and_on_the_scale_of_the_tables(command: Command, use: Use, tmp_path: Path) -> None:
    use(FakeWorkers())
    with Store.open(tmp_path / "opclock.sqlite") as store:
        info = TableInfo(target=DESCRIPTION.target, space=SpaceSpec(name="s", input_size=(64, 64)))
        store.set_scale(store.ensure_table(info), Scale(reference_ms=2 * SENTINEL_MS, stderr_ms=0.001, visits=9, quiet=9))
    ended = command("measure", LABEL, "--budget", "quick")
    assert ended.code == 0
    assert "conv_bn_relu 8→16 @16×32 /2 kernel=5, on imaginary" in ended.out
    assert "on the scale of this target's tables" in ended.out
    assert "0.1000 ms of prefix and suffix are subtracted" in ended.out


@pytest.mark.parametrize("key", [GRAPH.key(), BASE.key()])
def test_an_operator_that_fails_ends_with_4(command: Command, use: Use, key: str) -> None:
    use(FakeWorkers(unbuildable={key: Status.OUT_OF_MEMORY}))
    ended = command("measure", LABEL, "--budget", "quick", "--json")
    assert (ended.code, ended.document["measurement"]["status"]) == (4, "out_of_memory")
    assert "out_of_memory:" in command("measure", LABEL, "--budget", "quick").out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("conv3x4 8->16 @16x32 /1",), 3, "unknown operator kind 'conv3x4'"),
        (("conv3x3 8->16 @16",), 3, "is not KIND IN→OUT @HEIGHT×WIDTH"),
        (("conv3x3 8->16 @16x32 /5",), 3, "stride 5 is not one of 1, 2"),
        ((LABEL, "--input", "1x3x8x16"), 2, "are for networks"),
        ((LABEL, "-o", "report"), 2, "are for networks"),
    ],
)
def test_what_is_no_operator_is_refused(command: Command, use: Use, arguments: tuple[str, ...], code: int, said: str) -> None:
    workers = use(FakeWorkers())
    ended = command("measure", *arguments)
    assert ended.code == code
    assert said in " ".join(ended.err.replace("│", " ").split())
    assert not workers.prepared


def test_others_end_where_a_workload_would_be_too_large() -> None:
    assert not list(beside(parse_label("conv_bn_relu 16384->16380 @8x8 /1 kernel=1")))
    made = [operator for operator, _ in zip(beside(OPERATOR), range(MIN_LIVE), strict=False)]
    assert len({operator.key() for operator in made}) == MIN_LIVE
    assert {operator.input_shape for operator in made} == {OPERATOR.input_shape}
