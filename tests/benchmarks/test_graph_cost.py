"""What one further graph costs, beside what a framework's own exporter costs."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch

from models.export.onnx_graph import to_onnx
from models.networks.module import build_module
from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.spec.graphs import GraphRequest

pytestmark = pytest.mark.benchmark


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _cpu_ms(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return 1e3 * (time.process_time() - started)


def _ours(request: GraphRequest) -> bytes:
    return to_onnx(build_module(request), request.input_shape, name=request.key()).SerializeToString()


def _framework(request: GraphRequest) -> object:
    example = (torch.zeros(request.input_shape),)
    return torch.onnx.export(build_module(request), example, dynamo=True, verbose=False)


def test_one_further_operator() -> None:
    """Construct, give weights, trace, fold and serialise, over every operator of FasterSeg's grid at 128×256."""
    pytest.importorskip("onnxscript", reason="torch's own exporter needs it: pip install onnxscript")
    space = create_space(SpaceSpec(name="fasterseg", input_size=(128, 256)))
    requests = [GraphRequest(subject=operator, in_context=True) for operator in space.operators()]
    _ours(requests[0])
    times = [_cpu_ms(lambda request=request: _ours(request)) for request in requests]
    middle = requests[times.index(statistics.median_low(times))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not ours: torch's exporter deprecates parts of itself
        _framework(middle)
        framework = min(_cpu_ms(lambda: _framework(middle)) for _ in range(3))
    ours = statistics.median(times)
    p95, worst = statistics.quantiles(times, n=20)[-1], max(times)
    print(
        f"\none further graph: {ours:.1f} ms CPU (median of {len(times)}; p95 {p95:.1f}, worst {worst:.1f}); "
        f"torch.onnx.export, {middle.label()}: {framework:.0f} ms; ratio {framework / ours:.0f}"
    )
    assert framework > 10 * ours
