"""One network, measured by a service, beside what a table's entries sum up to."""

from __future__ import annotations

from typing import Any

from models.spec.architectures import ArchitectureSpec
from models.spec.errors import REFUSALS
from models.spec.measurements import Budget
from models.spec.wire import JobCreate
from nas_client.errors import ServiceError
from nas_client.estimates import estimate
from nas_client.jobs import Watch, finish_job
from nas_client.service import ServiceClient
from nas_client.table import LookupTable


def measure(service: ServiceClient, network: ArchitectureSpec, table_id: str, budget: Budget, watch: Watch) -> dict[str, Any]:
    """Measured and summed milliseconds of that network; one that fails, or that this protocol does not measure, says why.

    Raises:
        ServiceError: the service takes no such job for another reason than that it never would.
        JobFailedError: the job as a whole failed, or somebody cancelled it.
    """
    table = LookupTable(service.table(table_id))
    summed = estimate(network, table)
    request = JobCreate(space=table.info.space, workloads=(network,), protocol=table.info.protocol, budget=budget)
    found, refusal = None, ""
    try:
        created = service.create_job(request)
    except ServiceError as error:
        if error.code not in REFUSALS:
            raise
        refusal = error.message
    else:
        job = finish_job(service, created, watch)
        (found,) = service.lookup(job.table_id, [network])
    value = None if found is None else found.value_ms
    return {
        "protocol": table.info.protocol.value,
        "table_id": table_id,
        "measured_ms": value,
        "stderr_ms": None if found is None else found.stderr_ms,
        "frames_per_s": 1e3 / value if value else None,
        "flags": [] if found is None else [flag.value for flag in found.flags],
        "refused": bool(refusal),
        "message": "" if value is not None else refusal or "no measurement" if found is None else found.message,
        "sum_ms": summed.sum_ms,
        "terms": len(summed.terms),
        "missing": [term.operator.label() for term in summed.missing],
        "error": None if not value or summed.missing else (summed.sum_ms - value) / value,
    }
