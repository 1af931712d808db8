"""What helps or hinders measuring on this machine and its GPUs, each finding with the next step."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from enum import StrEnum
from pathlib import Path

from models.plugin_registry import plugins
from models.plugins import VARIABLE
from models.spaces.registry import SPACES
from models.spec.base import Record
from models.spec.errors import OpclockError
from models.spec.kinds import KINDS
from profiler_service.backends.backend_options import ENVIRONMENT_PREFIX, DeviceKind
from profiler_service.backends.device.base import OLDEST, capability_text
from profiler_service.backends.device.nvml import MIG_EMPTY, MIG_EMPTY_HINT, GpuState, Survey, survey_gpus
from profiler_service.backends.errors import NO_DRIVER
from profiler_service.backends.processor import usable_cores
from profiler_service.backends.registry import BACKENDS, backend_names, device_kinds, kind_meant
from profiler_service.conditions import GOVERNOR, STEADY_GOVERNOR, CpuBounds, cpu_bounds, cpu_governor, look
from profiler_service.errors import EmptyDatabaseError
from profiler_service.jobs.host import host_load
from profiler_service.settings import Settings, unknown_settings
from profiler_service.storage.store import Store
from profiler_service.worker.protocol import BackendDescription


class Outcome(StrEnum):
    """What a check found."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(Record):
    """One check. `hint` is the next step, empty where none is needed."""

    name: str
    outcome: Outcome
    detail: str
    hint: str = ""


OLDEST_PYTHON = (3, 11)
ENOUGH_DISK_BYTES = 2**30
"""A table with all its samples takes some 20 MB, the graphs of a large job several hundred."""

QUIET_LOAD = 0.3
"""Running processes per core above which slow phases are to be expected; a job then takes longer and flags more."""

Describe = Callable[[Settings], BackendDescription]
"""Asks a worker process about the backend that the settings name."""

Choice = tuple[str, DeviceKind | None]
"""A backend and a kind of device; None for a registered backend, which has no choice."""

TakeSurvey = Callable[[], Survey]
"""Looks at the GPUs."""


def diagnose(
    settings: Settings, describe: Describe, survey: TakeSurvey = survey_gpus, variables: Iterable[str] = os.environ
) -> Iterator[Finding]:
    """Every finding, one by one as it is made; asking a backend takes a second or more.

    Args:
        settings: what is wanted.
        describe: asks a backend.
        survey: looks at the GPUs.
        variables: names of the environment's variables.
    """
    yield _python()
    yield from _variables(variables)
    yield from plugin_findings()
    unasked = yield from _gpus(settings, survey)
    yield from _backends(settings, describe, unasked)
    yield _database(settings)
    yield _disk(settings)
    yield _cores(settings)
    yield from cpu_findings(cpu_bounds(), settings.threads)
    yield _load()
    yield _others()
    yield governor()


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        return Finding(name="python", outcome=Outcome.PROBLEM, detail=version, hint=f"Install Python {oldest} or newer.")
    return Finding(name="python", outcome=Outcome.OK, detail=version)


def _variables(variables: Iterable[str]) -> Iterator[Finding]:
    """Variables that were meant to be settings."""
    unknown = unknown_settings(variables)
    for name, hint in unknown.items():
        yield Finding(name=f"setting {name}", outcome=Outcome.WARNING, detail="no setting has this name; ignored", hint=hint)
    if not unknown:
        detail = f"every variable {ENVIRONMENT_PREFIX}… of the environment is known"
        yield Finding(name="settings", outcome=Outcome.OK, detail=detail)


def plugin_findings() -> Iterator[Finding]:
    """One for each plugin. What is wrong with one is no problem by itself: only its own names cannot be used."""
    found = plugins((SPACES, KINDS, BACKENDS))
    if not found:
        yield Finding(name="plugins", outcome=Outcome.OK, detail="none")
    for plugin in found:
        adds = [f"{what} {', '.join(names)}" for what, names in plugin.names.items()]
        yield Finding(
            name=f"plugin {plugin.origin}",
            outcome=Outcome.WARNING if plugin.problems else Outcome.OK,
            detail="; ".join([*plugin.problems, *([] if plugin.problems else adds)]),
            hint=f"Repair it, or uninstall it or leave it out of {VARIABLE}." if plugin.problems else "",
        )


def _gpus(settings: Settings, survey: TakeSurvey) -> Generator[Finding, None, frozenset[Choice]]:
    """What there is to say of GPUs; returns the backends that need not be asked, since there is no driver.

    No driver is no warning where a CPU is wanted; anything else that keeps GPUs from being seen is, and a problem where one
    is wanted.
    """
    try:
        yield from gpu_findings(survey())
    except OpclockError as error:
        unasked: frozenset[Choice] = frozenset()
        detail, wants_gpu = error.message, _wanted(settings)[1] == "cuda"
        outcome = Outcome.PROBLEM if wants_gpu else Outcome.WARNING
        if error.message == NO_DRIVER:
            outcome = Outcome.PROBLEM if wants_gpu else Outcome.OK
            unasked = frozenset((name, kind) for name, kind in _choices() if kind == "cuda") - {_wanted(settings)}
            detail += f"; not asked on a GPU: {', '.join(sorted(name for name, _ in unasked))}"
        yield Finding(name="gpu", outcome=outcome, detail=detail, hint="" if outcome is Outcome.OK else error.hint)
        return unasked
    return frozenset()


def _backends(settings: Settings, describe: Describe, unasked: frozenset[Choice]) -> Iterator[Finding]:
    """Every backend on every kind of device, of which only the wanted one can be a problem."""
    wanted, choices = _wanted(settings), _choices()
    for name, kind in choices if wanted in choices else [wanted, *choices]:
        if (name, kind) in unasked:
            continue
        title = backend_title(name, kind)
        try:
            found = describe(settings.model_copy(update={"backend": name, "device": kind}))
        except OpclockError as error:
            outcome = Outcome.PROBLEM if (name, kind) == wanted else Outcome.WARNING
            yield Finding(name=title, outcome=outcome, detail=error.message, hint=error.hint)
        else:
            yield Finding(name=title, outcome=Outcome.OK, detail=f"{found.target.label()}; {', '.join(found.dtypes)}")


def backend_title(name: str, kind: DeviceKind | None) -> str:
    """What the finding about that backend on that kind of device is called; the kind that it is for goes without saying."""
    first = kind is None or kind == next(iter(device_kinds(name)), kind)
    return f"backend {name}" if first else f"backend {name} on {kind}"


def _choices() -> list[Choice]:
    """Every backend with every kind of device that it runs on."""
    return [(name, kind) for name in backend_names() for kind in device_kinds(name) or (None,)]


def _wanted(settings: Settings) -> Choice:
    """What the settings ask for."""
    return settings.backend, kind_meant(settings.backend, settings.device)


def _database(settings: Settings) -> Finding:
    location = settings.database
    if isinstance(location, Path) and not location.exists():
        return Finding(name="database", outcome=Outcome.OK, detail=f"{location} does not exist yet; the first job makes it")
    try:
        with Store.open(location, create=False) as store:
            tables = store.tables()
    except EmptyDatabaseError:
        return Finding(name="database", outcome=Outcome.OK, detail=f"{location} has no tables yet; the first job makes them")
    except OpclockError as error:
        return Finding(name="database", outcome=Outcome.PROBLEM, detail=error.message, hint=error.hint)
    entries = sum(table.entries for table in tables)
    return Finding(name="database", outcome=Outcome.OK, detail=f"{location}: {entries} entries in {len(tables)} tables")


def _disk(settings: Settings) -> Finding:
    local = settings.database if isinstance(settings.database, Path) else settings.cache_path
    folder = next(parent for parent in local.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    detail = f"{free / 2**30:.1f} GiB free at {folder}"
    if not os.access(folder, os.W_OK):
        hint = "Allow this user to write there, or name another --database."
        return Finding(name="disk", outcome=Outcome.PROBLEM, detail=f"{folder} may not be written", hint=hint)
    if free < ENOUGH_DISK_BYTES:
        return Finding(name="disk", outcome=Outcome.WARNING, detail=detail, hint="Free some space before a large job.")
    return Finding(name="disk", outcome=Outcome.OK, detail=detail)


def _cores(settings: Settings) -> Finding:
    cores = usable_cores()
    detail = f"{len(cores)} usable, {settings.threads} for each engine"
    if settings.threads > len(cores):
        hint = f"Choose --threads {len(cores)} or fewer."
        return Finding(name="cores", outcome=Outcome.PROBLEM, detail=detail, hint=hint)
    if settings.threads == len(cores):
        hint = "Timing shares its cores with other work. Measurements repeat better with one spare core."
        return Finding(name="cores", outcome=Outcome.WARNING, detail=detail, hint=hint)
    return Finding(name="cores", outcome=Outcome.OK, detail=detail)


def cpu_findings(bounds: CpuBounds, threads: int) -> Iterator[Finding]:
    """Limits that keep this process from using the entire processor."""
    if bounds.cpuset:
        detail = f"cores {bounds.cpuset} of {bounds.machine_cores} may be used"
        yield Finding(name="cpuset", outcome=Outcome.OK, detail=detail)
    if bounds.quota_cores is not None:
        problem = bounds.quota_problem(threads)
        yield Finding(
            name="cpu quota",
            outcome=Outcome.WARNING if problem else Outcome.OK,
            detail=problem or f"{bounds.quota_cores:g} cores",
            hint=f"Raise the quota to {threads + 1} cores or more, or choose fewer --threads." if problem else "",
        )


def _load() -> Finding:
    load = host_load() / len(usable_cores())
    detail = f"{load:.2f} running processes per core in the last minute"
    if load > QUIET_LOAD:
        hint = "End other work while measuring. Slow phases are repeated, which takes time."
        return Finding(name="load", outcome=Outcome.WARNING, detail=detail, hint=hint)
    return Finding(name="load", outcome=Outcome.OK, detail=detail)


def _others() -> Finding:
    found = look()
    if found.busy:
        hint = "End that work, or let `profile` wait with --wait-for-quiet MINUTES."
        return Finding(name="other work", outcome=Outcome.WARNING, detail=found.busy, hint=hint)
    busy_cores = found.host.others_busy
    detail = "unknown on this system" if busy_cores is None else f"{busy_cores:.1f} of {found.host.cores} cores"
    return Finding(name="other work", outcome=Outcome.OK, detail=detail)


def governor(path: Path = GOVERNOR) -> Finding:
    """Whether the clock of the CPU is left to rise and fall."""
    name = "cpu governor"
    if (found := cpu_governor(path)) is None:
        return Finding(name=name, outcome=Outcome.OK, detail="not visible from here, as in most containers and guests")
    if found != STEADY_GOVERNOR:
        hint = "Fix the clock while measuring: cpupower frequency-set -g performance"
        return Finding(name=name, outcome=Outcome.WARNING, detail=found, hint=hint)
    return Finding(name=name, outcome=Outcome.OK, detail=found)


ENOUGH_MEMORY_BYTES = 2**30
"""A context takes some hundred megabytes, and 96 live engines of a small space about as much again."""


def gpu_findings(survey: Survey) -> Iterator[Finding]:
    """One for each GPU: the gravest thing to say about it.

    None is a problem by itself: the GPU that is measured on may be another. What a backend cannot use is the backend's own
    finding.
    """
    if not survey.gpus:
        yield Finding(
            name="gpu",
            outcome=Outcome.WARNING,
            detail=f"driver {survey.driver}, but no GPU",
            hint="See what nvidia-smi lists; in a container, start that with GPU access (docker run --gpus all).",
        )
    for gpu in survey.gpus:
        detail, hint = _gravest(gpu)
        what = f"{gpu.name}, compute capability {capability_text(gpu.capability)}, driver {survey.driver}"
        yield Finding(
            name=f"gpu {gpu.index}",
            outcome=Outcome.WARNING if hint else Outcome.OK,
            detail=f"{what}; {detail}",
            hint=hint,
        )


def _gravest(gpu: GpuState) -> tuple[str, str]:
    """The most serious finding and its next step, which is empty if there is no problem."""
    memory = "memory unknown"
    if gpu.free_bytes is not None and gpu.total_bytes is not None:
        memory = f"{gpu.free_bytes / 2**30:.1f} of {gpu.total_bytes / 2**30:.1f} GiB free"
    busy = gpu.processes or 0
    if gpu.capability < OLDEST:
        return (
            f"not supported; {capability_text(OLDEST)} is the minimum",
            "Choose another OPCLOCK_DEVICE_INDEX, or a backend on the CPU.",
        )
    if gpu.prohibited:
        return "compute mode prohibits all use", "Allow it: nvidia-smi --compute-mode=DEFAULT"
    if gpu.mig and not gpu.instances:
        return MIG_EMPTY, MIG_EMPTY_HINT
    if gpu.mig:
        return (
            f"partitioned by MIG into {', '.join(gpu.instances)}",
            "Choose one by CUDA_VISIBLE_DEVICES and leave the others idle, because they share clock and power. "
            "Its table differs from the entire GPU's.",
        )
    if gpu.exclusive and busy:
        return (
            "busy: in exclusive mode, and another process uses it",
            "End that process, or: nvidia-smi --compute-mode=DEFAULT",
        )
    if gpu.free_bytes is not None and gpu.free_bytes < ENOUGH_MEMORY_BYTES:
        return memory, "End what holds its memory (nvidia-smi lists that), or choose another OPCLOCK_DEVICE_INDEX."
    if busy:
        return f"{memory}; {busy} other processes compute on it", "End them while measuring; they slow the device down."
    return memory, ""
