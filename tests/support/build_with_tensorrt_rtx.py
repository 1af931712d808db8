"""What a spawned process does in the tests of TensorRT-RTX: builds the graphs it is told, one line of JSON for each.

    python -m tests.support.build_with_tensorrt_rtx < orders.jsonl

An order is `{"path", "dtype", "tf32"}`; its answer `{"nbytes", "seconds", "input", "output", "tf32"}` or, failed, `{"error",
"message"}`.
What it says of dtypes and TF32 is read back from the vendor's own network and configuration, not from the order.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from profiler_service.backends.tensorrt.building import EngineRequest, PlanBuilder
from profiler_service.backends.tensorrt.vendor import TENSORRT_RTX, load_vendor
from profiler_service.errors import BackendError


class Recording:
    """The vendor's builder, and the network and the configuration that it made last."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._builder, name)

    def create_network(self, flags: int) -> Any:
        self.network = self._builder.create_network(flags)
        return self.network

    def create_builder_config(self) -> Any:
        self.config = self._builder.create_builder_config()
        return self.config


def main() -> None:
    vendor = load_vendor(TENSORRT_RTX)
    builder = PlanBuilder(vendor)
    recording = builder._builder = Recording(builder._builder)
    for line in sys.stdin:
        order = json.loads(line)
        request = EngineRequest(order["dtype"], tf32=order["tf32"], timing_iterations=None)
        started = time.perf_counter()
        try:
            plan = builder.build(Path(order["path"]).read_bytes(), request)
            answer = {
                "nbytes": plan.nbytes,
                "seconds": time.perf_counter() - started,
                "input": recording.network.get_input(0).dtype.name,
                "output": recording.network.get_output(0).dtype.name,
                "tf32": recording.config.get_flag(vendor.module.BuilderFlag.TF32),
            }
        except BackendError as error:
            answer = {"error": type(error).__name__, "message": error.message}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
