"""The parts, in an order in which each finds what it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from models.spec.measurements import ProtocolName
from profiler_service.gpu_check import check_parts, network_parts, table_parts
from profiler_service.gpu_check.bench import Bench
from profiler_service.gpu_check.choices import Choices
from profiler_service.gpu_check.table_parts import table_part

VALIDATION = "validation-{backend}-{dtype}"


@dataclass(frozen=True)
class Part:
    """One part.

    Attributes:
        about: what it shows, for people.
        run: does it.
        backend: which must be usable; None where none is needed.
        gpu: whether it needs a GPU, whatever the choices.
        always: whether it is repeated although it is done, since it only gathers what others left.
        only_if_named: whether it is left out of a run of all parts.
    """

    name: str
    about: str
    run: Callable[[Bench], None]
    backend: str | None = None
    gpu: bool = False
    always: bool = False
    only_if_named: bool = False


def plan(choices: Choices, *, reference: Path, tables: Path) -> list[Part]:
    """Every part of these choices.

    Args:
        choices: what is checked.
        reference: folder of the data published with papers.
        tables: folder that tables are published to.
    """
    parts = [
        Part("environment", "what this box is: doctor, packages, the driver's view of the GPU", check_parts.environment),
        Part("probe-tensorrt-rtx", "whether TensorRT-RTX executes on this GPU", check_parts.probe, gpu=True),
        Part("contract-devices", "contract suite of the ways to a CUDA device", check_parts.device_contract, gpu=True),
        Part("clocks-devices", "copies on the device against its bus", check_parts.device_clocks, gpu=True),
    ]
    for backend in choices.backends:
        parts += _checks_of(backend)
    for backend in choices.backends:
        for dtype in choices.dtypes:
            parts += _measurements_of(choices, backend, dtype, reference)
    publish = partial(table_parts.publish, target=tables, validation_part=VALIDATION)
    return [
        *parts,
        Part("publish", f"finished tables into {tables.name}/, under their names", publish, always=True, only_if_named=True),
        Part("report", "everything so far in report.json and report.md", check_parts.report, always=True),
    ]


def _checks_of(backend: str) -> list[Part]:
    def part(name: str, about: str, run: Callable[..., None]) -> Part:
        return Part(f"{name}-{backend}", about, partial(run, backend=backend), backend)

    return [
        part("contract", f"contract suite of {backend}", check_parts.contract),
        part("clocks", f"clock of {backend} against other clocks and what the device can do", check_parts.clocks),
        part("repeatability", f"the same entries in three fresh processes of {backend}", table_parts.repeatability),
        part("table1", f"FasterSeg's Table 1 with {backend}", table_parts.table1),
    ]


def _measurements_of(choices: Choices, backend: str, dtype: str, reference: Path) -> list[Part]:
    in_context_first = sorted(choices.protocols, key=lambda name: name != ProtocolName.IN_CONTEXT.value)
    tables = [
        Part(
            table_part(backend, dtype, protocol),
            f"table of {choices.space} {choices.input_size}, {dtype}, {protocol}, with {backend}",
            partial(table_parts.table, backend=backend, dtype=dtype, protocol=protocol),
            backend,
        )
        for protocol in in_context_first
    ]
    student = partial(network_parts.student, backend=backend, dtype=dtype, reference=reference)
    validation = partial(network_parts.validation, backend=backend, dtype=dtype)
    return [
        *tables,
        Part(f"student-{backend}-{dtype}", f"the published student, {dtype}, with {backend}", student, backend),
        Part(
            VALIDATION.format(backend=backend, dtype=dtype),
            f"{choices.architectures} random networks, {dtype}, with {backend}, against every finished table",
            validation,
            backend,
        ),
    ]
