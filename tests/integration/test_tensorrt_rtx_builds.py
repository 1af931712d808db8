"""TensorRT-RTX builds every kind of operator that a search space can ask for; it needs no GPU for that.

Spawned processes build: a runtime that crashes must not take the tests along, and must not share a process with torch.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.spaces.registry import create_space, space_class, space_names
from models.spec.architectures import SpaceSpec
from models.spec.graphs import ContextBase, GraphRequest
from models.spec.kinds import kind_info, kind_names
from models.spec.operators import DTYPE_BYTES, OperatorSpec
from models.testing.operators import needed_attributes
from profiler_service.backends.tensorrt.vendor import TENSORRT_RTX
from profiler_service.worker.graph_files import make_files
from profiler_service.worker.graphs import GraphCache
from tests.support.repository import ROOT

pytestmark = pytest.mark.skipif(
    not any(map(find_spec, TENSORRT_RTX.modules)),
    reason="TensorRT-RTX is not installed, or has no wheel for this platform: pip install 'opclock[tensorrt-rtx]'",
)

SMALL = {"height": 10, "width": 14, "in_channels": 8, "batch": 1}
VENDOR_TYPES = {"float32": "FLOAT", "float16": "HALF", "bfloat16": "BF16"}


def _small(kind: str, stride: int, attributes: Mapping[str, Any], dtype: str) -> OperatorSpec:
    out_channels = kind_info(kind).allowed_channels(8, 12)
    needed = needed_attributes(kind, SMALL["in_channels"], (SMALL["height"], SMALL["width"]))
    fields = {
        "kind": kind,
        "stride": stride,
        "attributes": {**attributes, **needed},
        "out_channels": out_channels,
        "dtype": dtype,
    }
    return OperatorSpec.parse({**fields, **SMALL})


def _operators() -> dict[str, OperatorSpec]:
    """Each kind with its default attributes, and every combination of kind, stride and attributes in a space's grid, small."""
    small = [
        _small(kind, stride, {}, dtype) for kind in kind_names() for stride in kind_info(kind).strides for dtype in DTYPE_BYTES
    ]
    for name in space_names():
        for spec in space_class(name).defaults().operators():
            small += [_small(spec.kind, spec.stride, spec.attributes, dtype) for dtype in DTYPE_BYTES]
    return {spec.label(): spec for spec in small}


OPERATORS = _operators()


@dataclass(frozen=True)
class Order:
    """One graph for the spawned process to build."""

    path: Path
    dtype: str
    tf32: bool = False


def _build(orders: Sequence[Order]) -> list[dict[str, Any]]:
    """The answers, in order. A process that dies leaves the rest without one."""
    lines = "".join(json.dumps({"path": str(o.path), "dtype": o.dtype, "tf32": o.tf32}) + "\n" for o in orders)
    command = [sys.executable, "-m", "tests.support.build_with_tensorrt_rtx"]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, cwd=ROOT, timeout=280, check=False)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    died = {"error": "died", "message": f"the process ended with {done.returncode}: {done.stderr[-1000:]}"}
    return answers + [died] * (len(orders) - len(answers))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> GraphCache:
    return GraphCache.open(tmp_path_factory.mktemp("graphs"))


def _graph(cache: GraphCache, request: GraphRequest) -> Path:
    artifact = cache.artifact(request, reads_onnx=True)
    make_files(artifact, cache)
    assert artifact.onnx_path is not None
    return artifact.onnx_path


@pytest.fixture(scope="module")
def built(cache: GraphCache) -> dict[str, dict[str, Any]]:
    """Operator label to what became of it in its context."""
    orders = [
        Order(_graph(cache, GraphRequest(subject=spec, in_context=True)), spec.dtype, tf32=bool(index % 2))
        for index, spec in enumerate(OPERATORS.values())
    ]
    return dict(zip(OPERATORS, _build(orders), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("label", OPERATORS)
def test_builds_every_operator_in_its_context(built: dict[str, dict[str, Any]], label: str) -> None:
    assert "error" not in built[label], built[label]
    assert built[label]["nbytes"] > 0


@pytest.mark.slow
def test_the_requests_say_which_arithmetic_was_asked_for(built: dict[str, dict[str, Any]]) -> None:
    """Every dtype with TF32 on and off, as the vendor's own network and configuration tell."""
    found = {(answer["input"], answer["output"], answer["tf32"]) for answer in built.values() if "error" not in answer}
    assert found == {(name, name, tf32) for name in ("FLOAT", "HALF", "BF16") for tf32 in (False, True)}
    for index, (label, spec) in enumerate(OPERATORS.items()):
        assert (built[label]["input"], built[label]["tf32"]) == (VENDOR_TYPES[spec.dtype], bool(index % 2)), label


def test_every_operator_kind_stride_and_dtype_of_the_spaces_is_among_them() -> None:
    wanted = {
        (spec.kind, spec.stride, dtype)
        for name in space_names()
        for spec in space_class(name).defaults().operators()
        for dtype in DTYPE_BYTES
    }
    assert wanted <= {(spec.kind, spec.stride, spec.dtype) for spec in OPERATORS.values()}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", sorted(DTYPE_BYTES))
def test_builds_bases_single_operators_and_whole_networks(cache: GraphCache, dtype: str) -> None:
    subjects: list[Any] = [ContextBase.of(_small("conv3x3", 1, {}, dtype)), _small("zoomed_conv3x3_x2", 2, {}, dtype)]
    for name in space_names():
        space = create_space(SpaceSpec.parse({"name": name, "input_size": (64, 128), "dtype": dtype}))
        subjects.append(space.sample(np.random.default_rng(3)))
    orders = [Order(_graph(cache, GraphRequest(subject=subject)), dtype) for subject in subjects]
    assert [answer.get("message", "") for answer in _build(orders)] == [""] * len(orders)


def test_computes_in_the_graphs_own_dtype(cache: GraphCache) -> None:
    """Twice the bytes per weight make an engine that is larger by about that."""
    fields = {"kind": "conv3x3", **SMALL, "in_channels": 256, "out_channels": 256}
    specs = [OperatorSpec.parse({**fields, "dtype": dtype}) for dtype in ("float32", "float16", "bfloat16")]
    single, half, brain = _build([Order(_graph(cache, GraphRequest(subject=spec)), spec.dtype) for spec in specs])
    weights = 9 * 256 * 256
    assert single["nbytes"] > 4 * weights
    for smaller in (half, brain):
        assert 2 * weights < smaller["nbytes"] < single["nbytes"] - weights


def test_refuses_what_is_no_graph_and_goes_on(cache: GraphCache, tmp_path: Path) -> None:
    whole = _graph(cache, GraphRequest(subject=_small("conv3x3", 1, {}, "float32")))
    orders = [Order(whole, "float32")]
    for name, data in {"cut.onnx": whole.read_bytes()[:-100], "text.onnx": b"not a graph", "empty.onnx": b""}.items():
        (tmp_path / name).write_bytes(data)
        orders.append(Order(tmp_path / name, "float32"))
    orders.append(orders[0])
    first, *refused, last = _build(orders)
    assert "error" not in first
    assert "error" not in last
    assert [answer["error"] for answer in refused] == ["BuildError"] * 3
    assert all(answer["message"] for answer in refused)
