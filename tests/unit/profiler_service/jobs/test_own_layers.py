"""The layers of somebody's own network, timed with workers whose times are known: 1 ms each, the whole 10 ms."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import helper

from models.export.divided import divide
from models.export.own_network import read_network
from models.spec.graphs import GraphRequest
from models.spec.measurements import Budget, Flag, Status
from models.spec.verdicts import TrustLevel
from profiler_service.backends.base import GraphArtifact
from profiler_service.jobs.host import HostWatch
from profiler_service.jobs.own_layers import LayersMeasurement, PlannedLayers, explained
from profiler_service.jobs.own_network import NetworkMeasurement, OwnNetworkJob
from profiler_service.measure.stopping import BUDGETS
from tests.support.fake_host import FakeHost
from tests.support.fake_workers import SENTINEL_MS, FakeWorkers
from tests.unit.models.export.test_divided import conv, network, normal

BUDGET = BUDGETS[Budget.QUICK]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three convolutions, of which two are alike, and a node with two outputs."""
    nodes = [
        conv("x", "a", "a.weight", pads=[1, 1, 1, 1]),
        conv("a", "b", "b.weight", pads=[1, 1, 1, 1]),
        conv("b", "c", "c.weight", pads=[1, 1, 1, 1]),
        helper.make_node("Split", ["c"], ["d", "e"], axis=1, num_outputs=2),
        helper.make_node("Concat", ["e", "d"], ["y"], axis=1),
    ]
    weights = {"a.weight": normal(4, 3, 3, 3), "b.weight": normal(4, 4, 3, 3), "c.weight": 2 * normal(4, 4, 3, 3)}
    path = tmp_path / "net.onnx"
    path.write_bytes(network(nodes, weights, opset=18))
    return path


def run(path: Path, workers: FakeWorkers, **changed: object) -> tuple[NetworkMeasurement, LayersMeasurement]:
    described, _ = read_network(path, None)
    artifact = GraphArtifact(GraphRequest(subject=described), onnx_path=path)
    host = HostWatch(FakeHost().read, lambda: 0.5)
    known = {"budget": BUDGET, "reference_ms": SENTINEL_MS, "host": host}
    job = OwnNetworkJob(described, artifact, path.parent, workers=workers, **known, **changed)  # type: ignore[arg-type]
    found = job.run()
    assert found is not None
    assert found.layers is not None
    return found, found.layers


def test_layers_are_timed_once_and_counted_as_often_as_they_occur(path: Path) -> None:
    workers = FakeWorkers(noise=0.001)
    found, layers = run(path, workers)
    assert found.value_ms == pytest.approx(10, rel=0.01)
    assert [(layer.positions, layer.names) for layer in layers.layers] == [
        ((1,), ("a",)),
        ((2, 3), ("b", "c")),
        ((4,), (layers.layers[2].names[0],)),
    ]
    assert [layer.value_ms for layer in layers.layers] == [pytest.approx(1, rel=0.01)] * 3
    assert layers.sum_ms == pytest.approx(4, rel=0.01)
    assert layers.difference_ms == pytest.approx(6, rel=0.01)
    assert [(part.operators, part.why) for part in layers.not_divided] == [(("Split",), "it has several outputs")]
    assert [part.name for part in layers.explanation] == ["uncertainty", "not divided", "rest"]
    assert layers.explanation[-1].ms == pytest.approx(6, rel=0.01)
    assert [position for position, _, _ in layers.in_order()] == [1, 2, 3, 4]
    assert found.verdict().level is TrustLevel.TRUSTWORTHY
    sizes = {len(group.artifacts) for group in workers.groups}
    assert sizes == {1, 6}, "the network by itself; three layers and their bases together, in the same rounds"


def test_a_layer_that_fails_leaves_the_others(path: Path) -> None:
    described, data = read_network(path, None)
    planned = PlannedLayers.of(described, divide(data), path.parent)
    (twice,) = (key for key, positions in planned.alike.items() if len(positions) == 2)
    found, layers = run(path, FakeWorkers(leaving={twice: Status.RUN_ERROR}))
    assert found.status is Status.OK
    assert [layer.status for layer in layers.layers] == [Status.OK, Status.RUN_ERROR, Status.OK]
    assert layers.layers[1].message == "gave up"
    assert layers.sum_ms == pytest.approx(2)
    assert "failed" in [part.name for part in layers.explanation]


def test_without_a_graph_or_without_a_wish_there_are_no_layers(path: Path) -> None:
    described, _ = read_network(path, None)
    for folder, onnx_path, says in ((None, path, "not asked for"), (path.parent, None, "reads no ONNX graph")):
        artifact = GraphArtifact(GraphRequest(subject=described), onnx_path=onnx_path)
        host = HostWatch(FakeHost().read, lambda: 0.5)
        known = {"budget": BUDGET, "reference_ms": None, "host": host}
        job = OwnNetworkJob(described, artifact, folder, workers=FakeWorkers(), **known)  # type: ignore[arg-type]
        found = job.run()
        assert found is not None
        assert (found.status, found.layers) == (Status.OK, None)
        assert says in found.no_layers


def test_a_difference_within_its_uncertainty_needs_no_reason(path: Path) -> None:
    """Visits differ by 3 %: sum and whole are made equal, and what is left is noise."""
    _, layers = run(path, FakeWorkers(visit_noise=0.03))
    assert explained(layers.layers, (), 0.01, 0.02)[-1].text.startswith("nothing")
    assert "fuses" in explained(layers.layers, (), -0.1, 0.02)[-1].text
    below = layers.layers[0].model_copy(update={"flags": (Flag.BELOW_RESOLUTION,)})
    assert explained((below,), (), 0.01, 0.02)[1].name == "below resolution"
