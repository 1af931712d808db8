"""What CPU backends share: the clock, and the description of the processor."""

from __future__ import annotations

from pathlib import Path

from models.spec.targets import TargetSpec
from profiler_service.backends import processor
from profiler_service.backends.backend_options import BackendOptions
from profiler_service.backends.base import Engine, FloatArray, GraphArtifact
from profiler_service.backends.cpu import CpuBackend

XEON = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 85
model name\t: Intel(R) Xeon(R) Gold 6130 CPU @ 2.10GHz
stepping\t: 4
flags\t\t: fpu vme sse2 fma avx avx2 avx512f avx512_vnni hypervisor

processor\t: 1
model name\t: Intel(R) Xeon(R) Gold 6130 CPU @ 2.10GHz
"""
ORIN = """\
processor\t: 0
Features\t: fp asimd evtstrm fphp asimdhp asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd42
CPU revision\t: 1
"""


def test_reads_an_x86_processor() -> None:
    assert processor.cpu_name(XEON) == "Intel(R) Xeon(R) Gold 6130 CPU @ 2.10GHz"
    assert processor.cpu_revision(XEON) == "family 6 model 85 stepping 4"
    assert processor.vector_instructions(XEON) == "avx avx2 avx512_vnni avx512f fma"


def test_reads_an_arm_processor() -> None:
    assert processor.cpu_revision(ORIN) == "implementer 0x41 part 0xd42 revision 1"
    assert processor.vector_instructions(ORIN) == "asimd asimddp asimdhp fphp"


def test_a_processor_that_tells_nothing_still_has_a_name() -> None:
    assert processor.cpu_name("")
    assert processor.cpu_revision("") == processor.vector_instructions("") == ""


def test_finds_the_largest_cache_of_the_cores_it_may_use(tmp_path: Path) -> None:
    core = processor.usable_cores()[0]
    sizes = {
        "0": ("Data", "32K"),
        "1": ("Instruction", "64M"),
        "2": ("Unified", "1024K"),
        "3": ("Unified", "32M"),
        "4": ("Unified", ""),
    }
    for index, (kind, size) in sizes.items():
        directory = tmp_path / f"cpu{core}" / "cache" / f"index{index}"
        directory.mkdir(parents=True)
        (directory / "type").write_text(f"{kind}\n")
        (directory / "size").write_text(f"{size}\n")
    assert processor.last_level_cache_bytes(tmp_path) == 32 * 2**20
    assert processor.last_level_cache_bytes(tmp_path / "absent") is None


class _Counting(Engine):
    """Notes its name when it runs."""

    def __init__(self, name: str, log: list[str]) -> None:
        self._name, self._log = name, log

    def run(self) -> None:
        self._log.append(self._name)

    def infer(self, array: FloatArray) -> FloatArray:
        return array

    def close(self) -> None:
        return


class _Host(CpuBackend):
    name = "host"
    reads_onnx = False
    dtypes = ("float32",)

    def target(self) -> TargetSpec:
        return self.cpu_target(versions={"host": "1"}, options={"layout": "none"})

    def build(self, artifact: GraphArtifact) -> Engine:
        raise NotImplementedError


def test_a_pass_runs_each_engine_once_in_order() -> None:
    log: list[str] = []
    a, b = _Counting("a", log), _Counting("b", log)
    times_ms = _Host(BackendOptions()).time_pass([b, a, b])
    assert log == ["b", "a", "b"]
    assert len(times_ms) == 3
    assert all(0 < time_ms < 1000 for time_ms in times_ms)


def test_the_target_holds_what_may_change_a_time() -> None:
    target = _Host(BackendOptions(threads=3)).target()
    assert target.threads == 3
    assert target.device == processor.cpu_name()
    assert target.precision["denormals"] == "zero"
    assert target.options["layout"] == "none"
    assert target.options["cores"] == str(len(processor.usable_cores()))
