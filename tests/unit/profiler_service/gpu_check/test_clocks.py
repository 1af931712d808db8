"""What the checks of clocks hold against a clock: a right one passes, and each kind of wrong one does not."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from models.spec.operators import Dtype
from models.spec.targets import TargetSpec
from profiler_service.backends.backend_options import AllOptions
from profiler_service.backends.base import Backend, Engine, FloatArray, GraphArtifact
from profiler_service.gpu_check import clocks as module
from profiler_service.gpu_check import peaks
from profiler_service.gpu_check.clocks import Clocks, flops, product
from profiler_service.gpu_check.peaks import Limits, measure
from profiler_service.worker.graphs import GraphCache
from tests.support.fake_device import FakeDevice

H100 = Limits(sm_clock_mhz=1830.0, memory_clock_mhz=2619.0, bus_bits=5120)


@pytest.mark.parametrize(
    ("clock_mhz", "capability", "multiprocessors", "dtype", "tf32", "tera"),
    [  # data sheets: H100 SXM, A100, V100, RTX 4090, L40S, A40, T4, RTX PRO 6000 Blackwell
        (1830, "9.0", 132, "float16", False, 989),
        (1980, "9.0", 132, "float32", False, 67),
        (1830, "9.0", 132, "float32", True, 494.7),
        (1410, "8.0", 108, "bfloat16", True, 312),
        (1410, "8.0", 108, "float32", False, 19.5),
        (1410, "8.0", 108, "float32", True, 156),
        (1530, "7.0", 80, "float16", False, 125),
        (2520, "8.9", 128, "float32", False, 82.6),
        (2520, "8.9", 128, "float16", False, 330.3),
        (2520, "8.9", 142, "float32", True, 183),
        (1740, "8.6", 84, "float32", True, 74.8),
        (1740, "8.6", 84, "float16", False, 149.7),
        (1590, "7.5", 40, "float16", False, 65),
        (2617, "12.0", 188, "float32", False, 126),
        (2617, "12.0", 188, "float32", True, 251.9),
        (2617, "12.0", 188, "bfloat16", False, 503.8),
    ],
)
def test_peaks_are_those_of_the_data_sheets(
    clock_mhz: float, capability: str, multiprocessors: int, dtype: Dtype, tf32: bool, tera: float
) -> None:
    peak = Limits(sm_clock_mhz=clock_mhz).flops(capability, multiprocessors, dtype, tf32=tf32)
    assert peak is not None
    assert peak / 1e12 == pytest.approx(tera, rel=0.01)


def test_the_bus_is_that_of_the_data_sheet() -> None:
    rate = H100.bytes_per_s()
    assert rate is not None
    assert rate / 1e12 == pytest.approx(3.35, rel=0.01)


def test_what_is_not_known_is_not_made_up() -> None:
    assert Limits().bytes_per_s() is None
    assert Limits().flops("9.0", 132, "float16") is None
    assert H100.flops("99.0", 132, "float16") is None


class PaperEngine(Engine):
    """Takes as long as its arithmetic at a rate, and not less than a launch."""

    def __init__(self, ms: float) -> None:
        self.ms = ms

    def run(self) -> None:
        time.sleep(self.ms / 1e3)

    def infer(self, array: FloatArray) -> FloatArray:
        return array

    def close(self) -> None:
        """Nothing to free."""


class PaperBackend(Backend):
    """A GPU of so many operations per second, whose clock shows `scale` times the truth, and `constant_ms` on top."""

    name = "paper"
    reads_onnx = False
    builds_on_device = True
    dtypes = ("float16",)
    options_type = AllOptions
    options: AllOptions

    def __init__(
        self,
        flops_per_s: float,
        *,
        scale: float = 1.0,
        constant_ms: float = 0.0,
        options: AllOptions = AllOptions(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(options)
        self.flops_per_s, self.scale, self.constant_ms = flops_per_s, scale, constant_ms

    def target(self) -> TargetSpec:
        return TargetSpec(
            device="Paper H100",
            backend=self.name,
            options={"multiprocessors": "132"},
            precision={"tf32": "on" if self.options.tf32 else "off"},
            compute_capability="9.0",
        )

    def build(self, artifact: GraphArtifact) -> Engine:
        return PaperEngine(flops(artifact.request.subject) / self.flops_per_s * 1e3 + 0.005)  # type: ignore[arg-type]

    def time_pass(self, engines: Sequence[Engine]) -> list[float]:
        return [self.scale * engine.ms + self.constant_ms for engine in engines]  # type: ignore[attr-defined]


def _on_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """No graph files are needed, and the host's clock sees the truth."""
    monkeypatch.setattr(module, "make_files", lambda artifact, cache: None)
    monkeypatch.setattr(module, "_host_ms", lambda engine: engine.ms + 0.01)


def _judged(
    backend: PaperBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: Dtype = "float16"
) -> dict[str, bool]:
    """Check to whether it passed."""
    _on_paper(monkeypatch)
    clocks = Clocks(backend, "cuda", dtype, GraphCache.open(tmp_path), H100)
    clocks.run()
    return {check["name"].removeprefix(f"{dtype}: "): check["passed"] for check in clocks.checks}


ALL = {"floor", "floor is the device's", "matrix product", "twice the product", "independent clock"}


def test_a_right_clock_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _judged(PaperBackend(600e12), tmp_path, monkeypatch) == dict.fromkeys(ALL, True)


@pytest.mark.parametrize(
    ("backend", "failing"),
    [
        (PaperBackend(600e12, scale=0.5), {"matrix product", "independent clock"}),
        (PaperBackend(600e12, scale=1.05), {"independent clock"}),
        (PaperBackend(50e12), {"matrix product"}),
        (PaperBackend(600e12, constant_ms=5.0), {"floor", "floor is the device's", "twice the product", "independent clock"}),
    ],
)
def test_a_wrong_clock_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: PaperBackend, failing: set[str]
) -> None:
    found = _judged(backend, tmp_path, monkeypatch)
    assert {name for name, passed in found.items() if not passed} == failing


@pytest.mark.parametrize("tf32", [True, False])
def test_float32_in_tf32_is_held_against_what_tf32_can_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tf32: bool) -> None:
    backend = PaperBackend(350e12, options=AllOptions(tf32=tf32))
    assert _judged(backend, tmp_path, monkeypatch, "float32")["matrix product"] is tf32


def test_the_clock_that_is_checked_is_the_one_that_tables_are_measured_by(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened: list[AllOptions] = []

    def create(name: str, options: AllOptions) -> PaperBackend:
        opened.append(options)
        return PaperBackend(600e12, options=options)

    _on_paper(monkeypatch)
    monkeypatch.setattr(module, "create_backend", create)
    monkeypatch.setattr(module, "limits_of", lambda device: H100)
    settings = {"DEVICE_ACCESS": "pycuda", "DEVICE_INDEX": "1", "CUDA_GRAPHS": "false", "REPLAY_BUILDS": "true"}
    for name, value in (settings | {"CACHE_DIR": str(tmp_path / "kept")}).items():
        monkeypatch.setenv(f"OPCLOCK_{name}", value)
    document = module.measure("paper", "cuda", ["float16"])
    (options,) = opened
    assert options.cache_dir is not None
    assert not options.cache_dir.exists(), "a folder of its own, gone with it"
    assert not (tmp_path / "kept").exists()
    wanted = AllOptions(device="cuda", device_access="pycuda", device_index=1, cuda_graphs=False)
    assert options.model_copy(update={"cache_dir": None}) == wanted
    assert {check["name"] for check in document["checks"]} == {f"float16: {name}" for name in ALL}


def test_copies_run_on_the_device_that_the_settings_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened: list[tuple[str, int]] = []

    def open_device(access: str, index: int) -> FakeDevice:
        opened.append((access, index))
        return FakeDevice()

    monkeypatch.setattr(peaks, "open_device", open_device)
    monkeypatch.setattr(peaks, "driver_copy", lambda: None)
    monkeypatch.setattr(peaks, "measure", lambda device, copy, limits: {"device": device.info.name})
    monkeypatch.setattr(peaks, "limits_of", lambda device: H100)
    monkeypatch.setenv("OPCLOCK_DEVICE_INDEX", "1")
    monkeypatch.setenv("OPCLOCK_DEVICE_ACCESS", "pycuda")
    output = tmp_path / "copying.json"
    monkeypatch.setattr(sys, "argv", ["peaks", "--access", "cuda-core", "-o", str(output)])
    assert peaks.main() == 0
    assert opened == [("cuda-core", 1)], "the library is what is compared, and the command says which"
    assert json.loads(output.read_text()) == {"device": FakeDevice().info.name}


def test_the_product_grows_until_it_is_long_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "make_files", lambda artifact, cache: None)
    backend = PaperBackend(60e12)
    spec, engine = Clocks(backend, "cuda", "float16", GraphCache.open(tmp_path), H100).long_enough()
    assert backend.time_pass([engine])[0] >= module.LONG_MS
    first = product(*module.FIRST["cuda"], "float16")
    assert flops(spec) > flops(first)


@pytest.mark.parametrize(("gb_per_s", "passed"), [(2800, True), (9000, False), (300, False)])
def test_copies_are_held_against_the_bus(gb_per_s: float, passed: bool) -> None:
    device = FakeDevice()

    def copy(to: int, origin: int, nbytes: int, stream: int) -> None:
        def work() -> None:
            device.array(to)[:nbytes] = device.array(origin)[:nbytes]
            device.clock_ms += 2 * nbytes / (gb_per_s * 1e9) * 1e3

        device.submit(stream, work)

    document = measure(device, copy, H100, nbytes=2**16)
    found = {check["name"]: check["passed"] for check in document["checks"]}
    assert found == {"two copies": True, "copy on the device": passed}
    assert (device.memory, device.graphs) == ({}, 0), "everything is freed"


def test_a_second_copy_that_takes_no_time_is_found_out() -> None:
    device = FakeDevice()
    first: list[int] = []

    def copy(to: int, origin: int, nbytes: int, stream: int) -> None:
        first.append(to)

        def work() -> None:
            device.clock_ms += 1.0 if to == first[0] else 0.0

        device.submit(stream, work)

    (check,) = measure(device, copy, Limits(), nbytes=2**16)["checks"]
    assert (check["name"], check["passed"]) == ("two copies", False)
