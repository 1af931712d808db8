"""What a spawned process does in the tests of TensorRT-RTX: builds the graphs it is told, one line of JSON for each.

    python -m tests.build_with_tensorrt_rtx < orders.jsonl

An order is `{"path", "dtype", "tf32"}`; its answer `{"nbytes", "seconds"}` or `{"error", "message"}`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from profiler_service.backends.tensorrt.building import PlanBuilder
from profiler_service.backends.tensorrt.request import EngineRequest
from profiler_service.backends.tensorrt.vendor import TENSORRT_RTX, load_vendor
from profiler_service.errors import BackendError


def main() -> None:
    builder = PlanBuilder(load_vendor(TENSORRT_RTX))
    for line in sys.stdin:
        order = json.loads(line)
        request = EngineRequest(order["dtype"], tf32=order["tf32"], timing_iterations=None)
        started = time.perf_counter()
        try:
            plan = builder.build(Path(order["path"]).read_bytes(), request)
            answer = {"nbytes": plan.nbytes, "seconds": time.perf_counter() - started}
        except BackendError as error:
            answer = {"error": type(error).__name__, "message": error.message}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
