"""One network, measured by a service under the protocol of each table, beside what the table's entries sum up to.

python -m scripts.gpu_check.measure_network --url http://127.0.0.1:8731 --architecture student.json --table ID
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from models.spec.architectures import ArchitectureSpec
from models.spec.errors import OpclockError
from models.spec.measurements import Budget
from models.spec.wire import JobCreate
from nas_client.errors import ServiceError
from nas_client.estimates import estimate
from nas_client.jobs import finish_job
from nas_client.service import ServiceClient
from nas_client.settings import ClientSettings
from nas_client.table import LookupTable
from scripts.gpu_check.bench import REFUSALS


def measure(service: ServiceClient, network: ArchitectureSpec, table_id: str, budget: Budget) -> dict[str, Any]:
    """Measured and summed milliseconds of that network; one that fails, or that this protocol does not measure, says why."""
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
        job = finish_job(service, created, lambda _job: None)
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


def main() -> int:
    """Prints one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--architecture", type=Path, required=True)
    parser.add_argument("--table", action="append", required=True)
    parser.add_argument("--budget", type=Budget, default=Budget.NORMAL)
    options = parser.parse_args()
    try:
        network = ArchitectureSpec.parse_json(options.architecture.read_bytes(), source=str(options.architecture))
        with ServiceClient.connect(options.url, ClientSettings.load()) as service:
            rows = [measure(service, network, table_id, options.budget) for table_id in options.table]
    except OpclockError as error:
        print(json.dumps({"error": {"code": error.code.value, "message": error.message, "hint": error.hint}}))
        return int(error.exit_code)
    print(json.dumps({"network": network.label(), "tables": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
