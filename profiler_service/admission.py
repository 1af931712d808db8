"""The checks of a job before it is queued, so that bad input never reaches a backend (docs/architecture.md)."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from models.plugins import Origin, versions_of
from models.spaces.base import SearchSpace
from models.spaces.registry import SPACES, completed_workloads, create_space
from models.spec import limits
from models.spec.architectures import ArchitectureSpec
from models.spec.errors import InvalidSpecError, UnknownNameError, WorkloadTooLargeError
from models.spec.kinds import KINDS
from models.spec.measurements import PROTOCOL_VERSIONS, ProtocolName, Workload
from models.spec.operators import OperatorSpec
from models.spec.tables import TableInfo
from models.spec.wire import JobCreate
from profiler_service.backends.registry import BACKENDS
from profiler_service.conditions import cpu_bounds
from profiler_service.measure.groups import network_bytes
from profiler_service.version import service_version
from profiler_service.worker.protocol import BackendDescription
from profiler_service.worker.sampling import HOT_RUNS


@dataclass(frozen=True)
class AdmittedJob:
    """A job that may be queued.

    Attributes:
        request: the request, with the defaults of the space and of its architectures filled in.
        info: the table that the results belong to.
    """

    request: JobCreate
    info: TableInfo


def admit(request: JobCreate, backend: BackendDescription) -> AdmittedJob:
    """Check a request against its search space and the backend.

    Raises:
        InvalidSpecError: no such space, a parameter that the space does not allow, an architecture of another space, a dtype
            or protocol that the backend does not support, or a network beyond the limit of memory; names the workload. Or
            all workloads together are beyond the limit of multiply-adds.
    """
    space = create_space(request.space)
    _require_protocol(request.protocol, backend)
    _require_dtype(space.spec.dtype, backend, "space")
    if request.workloads is not None:
        request = request.model_copy(update={"workloads": completed_workloads(request.workloads)})
    for index, workload in enumerate(request.workloads or ()):
        _check(workload, space, request.protocol, backend, f"workloads.{index}")
    _require_bounded_work(request, space)
    provenance = {"host": platform.node(), "system": platform.platform(), "opclock": service_version()}
    provenance |= cpu_bounds().provenance()
    provenance |= versions_of(_origins(space, request.workloads or (), backend))
    if request.protocol is ProtocolName.ISOLATED_COLD:
        provenance["flush_bytes"] = str(backend.flush_bytes)
    info = TableInfo(
        target=backend.target,
        space=space.spec,
        protocol=request.protocol,
        protocol_version=PROTOCOL_VERSIONS[request.protocol],
        provenance=provenance,
    )
    return AdmittedJob(request.model_copy(update={"space": space.spec}), info)


def _origins(space: SearchSpace, workloads: Iterable[Workload], backend: BackendDescription) -> set[Origin]:
    """What the space, its operators, the operators asked for, and the backend come from."""
    operators = {*space.operators(), *(workload for workload in workloads if isinstance(workload, OperatorSpec))}
    kinds = {operator.kind for operator in operators}
    found = {SPACES.origin(space.name), *map(KINDS.origin, kinds)}
    with suppress(UnknownNameError):  # a backend that only the worker processes know
        found.add(BACKENDS.origin(backend.target.backend))
    return found


def _check(workload: Workload, space: SearchSpace, protocol: ProtocolName, backend: BackendDescription, where: str) -> None:
    _require_dtype(workload.dtype, backend, where)
    if not isinstance(workload, ArchitectureSpec):
        return
    _require_room_in_queue(protocol, backend, where)
    try:
        size = network_bytes(space.plan(workload).operators())
    except InvalidSpecError as error:
        raise type(error)(f"{where}: {error.message}", hint=error.hint) from error
    if size > limits.MAX_WORKLOAD_BYTES:
        raise WorkloadTooLargeError(
            f"{where}: this network takes about {size:.3g} bytes; the limit is {limits.MAX_WORKLOAD_BYTES:.3g}",
            hint="Choose a smaller input size or batch.",
        )


def _require_bounded_work(request: JobCreate, space: SearchSpace) -> None:
    """Raises WorkloadTooLargeError where one run of everything would take many hours."""
    macs = 0
    for workload in space.operators() if request.workloads is None else request.workloads:
        operators = (workload,) if isinstance(workload, OperatorSpec) else space.plan(workload).operators()
        macs += sum(int(operator.bounds.macs) for operator in operators)
    if macs > limits.MAX_JOB_MACS:
        raise WorkloadTooLargeError(
            f"the workloads of this job take about {macs:.3g} multiply-adds a run; the limit is {limits.MAX_JOB_MACS:.3g}",
            hint="Ask for fewer workloads at a time, or choose a smaller input size or batch.",
        )


def _require_protocol(protocol: ProtocolName, backend: BackendDescription) -> None:
    if protocol is ProtocolName.ISOLATED_COLD and backend.flush_bytes is None:
        raise InvalidSpecError(
            f"protocol {protocol.value!r} cannot be measured by backend {backend.target.backend!r} on "
            f"{backend.target.device!r}: the size of the last-level cache, which must be emptied, is unknown",
            hint="Choose protocol isolated_hot, isolated or in_context.",
        )


def _require_room_in_queue(protocol: ProtocolName, backend: BackendDescription, where: str) -> None:
    """Raises InvalidSpecError for networks whose kernels do not fit into the driver's queue."""
    if protocol is ProtocolName.ISOLATED_HOT and backend.queues_kernels:
        raise InvalidSpecError(
            f"{where}: protocol {protocol.value!r} cannot measure a network without CUDA graphs: {HOT_RUNS} runs, launched "
            "kernel by kernel, do not fit into the driver's queue",
            hint="Choose protocol isolated or in_context, or capture CUDA graphs (OPCLOCK_CUDA_GRAPHS=true).",
        )


def _require_dtype(dtype: str, backend: BackendDescription, where: str) -> None:
    if dtype not in backend.dtypes:
        raise InvalidSpecError(
            f"{where}: dtype {dtype!r} cannot be measured by backend {backend.target.backend!r}",
            hint=f"This backend measures {', '.join(backend.dtypes)}; other backends may measure more.",
        )
