"""RSPNet with and without half-channel stages: the ratio of their latencies beside that of their parameters."""

from __future__ import annotations

import random
import statistics
import time

import numpy as np
import pytest

from models.export.onnx_graph import to_onnx
from models.networks.module import build_module, network_costs
from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.spec.graphs import GraphRequest

pytestmark = pytest.mark.benchmark

CELL = ("conv3x3", "depthwise3x3", "identity")
"""Its network has 65.5 M parameters; 68.67 M are published."""
RUNS = 15


@pytest.mark.timeout(1800)
def test_latency_and_parameters() -> None:
    """At 256×512, ONNX Runtime, one thread, runs in turn; only the ratio is of interest."""
    runtime = pytest.importorskip("onnxruntime", reason="runs the networks: pip install 'opclock[onnxruntime]'")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    images = np.random.default_rng(0).standard_normal((1, 3, 256, 512), dtype=np.float32)
    sessions, costs = {}, {}
    for part in (1, 2):
        space = create_space(SpaceSpec(name="rspnet", input_size=(256, 512), parameters={"part": part}))
        sampled = space.sample(np.random.default_rng(0))
        architecture = sampled.model_copy(update={"genotype": {**sampled.genotype, "cell": CELL}})
        plan, request = space.plan(architecture), GraphRequest(subject=architecture)
        costs[part] = network_costs(plan)
        graph = to_onnx(build_module(request, plan), request.input_shape, name=f"part{part}")
        sessions[part] = runtime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    times: dict[int, list[float]] = {1: [], 2: []}
    for run in range(RUNS + 1):
        for part in random.Random(run).sample((1, 2), 2):
            started = time.perf_counter()
            sessions[part].run(None, {"input": images})
            if run:
                times[part].append(1e3 * (time.perf_counter() - started))
    whole, half = (statistics.median(times[part]) for part in (1, 2))
    print(
        f"\nRSPNet at 256×512, without and with half-channel stages: {whole:.1f} and {half:.1f} ms, {whole / half:.2f} times; "
        f"parameters {costs[1].parameters / 1e6:.2f} and {costs[2].parameters / 1e6:.2f} M, "
        f"{costs[1].parameters / costs[2].parameters:.2f} times; "
        f"multiply-adds {costs[1].macs / 1e9:.1f} and {costs[2].macs / 1e9:.1f} G, {costs[1].macs / costs[2].macs:.2f} times"
    )
    assert half < whole
