"""Parts that check the box and its backends: environment, contract suites, clocks, the probe; and the report of all parts."""

from __future__ import annotations

import json
import platform
import shutil
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from models.spec.errors import ExitCode
from profiler_service.backends.registry import backend_names, device_kinds
from profiler_service.diagnosis import Outcome, backend_title
from profiler_service.gpu_check.bench import Bench, PartError, SkipPartError, require_from_repository, scrubbed
from profiler_service.gpu_check.results import write_report
from profiler_service.settings import Settings

BACKEND_TESTS = "tests/contract/test_backends.py"
DEVICE_TESTS = ("tests/contract/test_devices.py", "tests/gpu")
PROBE = "scripts/probe_tensorrt_rtx.py"
DEVICE_ACCESSES = ("cuda-core", "pycuda")


def environment(bench: Bench) -> None:
    """What this box is: `doctor`, packages, and, where there is one, the driver's own view of the GPU."""
    doctor = bench.run("doctor", "profiler-service", "doctor", "--json", environment=bench.environment(), accepts=(0, 3))
    found = {finding["name"]: finding["outcome"] for finding in doctor.document["findings"]}
    packages = sorted(f"{found.metadata['Name']}=={found.version}" for found in distributions() if found.metadata["Name"])
    (bench.folder / "packages.txt").write_text("\n".join(packages) + "\n")
    bench.summary = {
        "findings": found,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    device = bench.choices.device
    titles = [backend_title(name, device) for name in backend_names() if device in device_kinds(name)]
    usable = [title for title in titles if found.get(title) == Outcome.OK]
    bench.check("a backend is usable", bool(usable), ", ".join(usable) or f"none of them on {device}")
    if smi := shutil.which("nvidia-smi"):
        query = "name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,mig.mode.current,persistence_mode"
        bench.run("nvidia-smi", smi, f"--query-gpu={query}", "--format=csv")
        bench.summary["gpu"] = (bench.folder / "nvidia-smi.out").read_text().splitlines()


def contract(bench: Bench, backend: str) -> None:
    """The contract suite of backends."""
    require_from_repository(BACKEND_TESTS)
    _pytest(bench, BACKEND_TESTS, "-k", f"{backend}-{bench.choices.device}")


def device_contract(bench: Bench) -> None:
    """The contract suite of CUDA device libraries, and the tests of its clock."""
    for path in DEVICE_TESTS:
        require_from_repository(path)
    _pytest(bench, *DEVICE_TESTS)


def clocks(bench: Bench, backend: str) -> None:
    """The backend's clock against other clocks and the device's peak rate. A crash fails the part."""
    path = bench.folder / "clocks.json"
    dtypes = [option for dtype in bench.choices.dtypes for option in ("--dtype", dtype)]
    arguments = ("--backend", backend, "--device", bench.choices.device, *dtypes, "-o", path)
    if reason := _not_applicable(bench, "clocks", "-m", "profiler_service.gpu_check.clocks", *arguments):
        raise SkipPartError(reason)
    _adopt(bench, json.loads(path.read_text()))


def device_clocks(bench: Bench) -> None:
    """Copies on the device against its bus, with every installed library. If one of them fails, the part fails."""
    absent = []
    for access in DEVICE_ACCESSES:
        path = bench.folder / f"{access}.json"
        arguments = ("-m", "profiler_service.gpu_check.peaks", "--access", access, "-o", path)
        try:
            reason = _not_applicable(bench, access, *arguments)
        except PartError as failure:  # the other library is still to be seen
            bench.check(f"{access}: it copies", False, str(failure))
            continue
        if reason:
            absent.append(f"{access}: {reason}")
        else:
            _adopt(bench, json.loads(path.read_text()), prefix=f"{access}: ")
    bench.summary["absent"] = absent
    if len(absent) == len(DEVICE_ACCESSES):
        raise SkipPartError("; ".join(absent))


def probe(bench: Bench) -> None:
    """Whether TensorRT-RTX executes on this GPU. If not, this is a finding, not a failure."""
    require_from_repository(PROBE)
    path = bench.folder / "probe.json"
    options = ("--timeout", "70", "--device-index", Settings.load().device_index, "-o", path)
    bench.run("probe", PROBE, *options, accepts=(0, 1))
    if not path.exists():
        raise PartError("the probe left no document")
    found = json.loads(path.read_text())
    bench.summary = {
        "executes": found["executes"],
        "executed_variants": found["executed_variants"],
        "outcomes": {name: variant["outcome"] for name, variant in found["variants"].items()},
    }


def _not_applicable(bench: Bench, name: str, *arguments: object) -> str | None:
    """Run checks in their own process. Returns why they do not apply here; None where they ran.

    Raises:
        PartError: they crashed or failed in another way.
    """
    ended = bench.run(name, *arguments, accepts=(int(ExitCode.DONE), int(ExitCode.BAD_INPUT)))
    if ended.returncode == ExitCode.DONE:
        return None
    if (reason := ended.refusal or ended.absence) is None:
        raise PartError(f"{name} ended with {ended.returncode}: {ended.last_words}")
    return reason


def _pytest(bench: Bench, *arguments: str) -> None:
    """Run these tests; every one that runs must pass, and some must run."""
    report = bench.folder / "tests.xml"
    options = ("-q", "-p", "no:cacheprovider", f"--junitxml={report}", *arguments)
    ended = bench.run("pytest", "-m", "pytest", *options, accepts=(0, 1, 5))
    _remove_host(report)
    counts = _counts(report)
    bench.summary = dict(counts)
    failed, passed = counts["failures"] + counts["errors"], counts["passed"]
    bench.check("no test fails", failed == 0 and ended.returncode != 1, f"{failed} failed of {counts['tests']}")
    bench.check("tests run", passed > 0, f"{passed} passed, {counts['skipped']} skipped")


def _remove_host(report: Path) -> None:
    """Pytest writes the box's name into every suite, and its folders into tracebacks and reasons."""
    tree = ElementTree.parse(report)  # noqa: S314 - pytest has just written it
    for element in tree.getroot().iter():
        element.attrib.pop("hostname", None)
        element.attrib.update({name: scrubbed(value) for name, value in element.attrib.items()})
        element.text = scrubbed(element.text or "")
    tree.write(report, encoding="utf-8", xml_declaration=True)


def _counts(report: Path) -> dict[str, int]:
    """Tests by how they ended."""
    suites = ElementTree.parse(report).getroot().iter("testsuite")  # noqa: S314 - pytest has just written it
    names = ("tests", "failures", "errors", "skipped")
    counts = dict.fromkeys(names, 0)
    for suite in suites:
        for name in names:
            counts[name] += int(suite.get(name, "0"))
    counts["passed"] = counts["tests"] - counts["failures"] - counts["errors"] - counts["skipped"]
    return counts


def _adopt(bench: Bench, document: dict[str, Any], prefix: str = "") -> None:
    """Adopt the checks of another process, and its numbers without samples, which stay in its file."""
    for found in document["checks"]:
        bench.check(prefix + found["name"], found["passed"], found["detail"], aim=found.get("aim", False))
    numbers = document["numbers"]
    without_samples = {
        name: {key: value for key, value in one.items() if key != "samples_ms"} if isinstance(one, dict) else one
        for name, one in numbers.items()
    }
    bench.summary |= {prefix + name: value for name, value in without_samples.items()}
    if not document["checks"]:
        raise SkipPartError(f"the backend supports none of {', '.join(bench.choices.dtypes)}")


def report(bench: Bench) -> None:
    """The results of all parts so far, in one JSON file and one page."""
    bench.summary = write_report(bench.output)
