"""The backend, described. Its class is in a module of its own, so that only the process that measures loads torch."""

from typing import Annotated

from pydantic import Field

from profiler_service.backends.backend_options import BackendOptions
from profiler_service.backends.description import BackendInfo, Implementation, Runtime


class WarmOptions(BackendOptions):
    """The options of every backend, and one more: OPCLOCK_BACKEND_OPTIONS='{"warm_runs": 3}'."""

    warm_runs: Annotated[int, Field(ge=0, le=100)] = 1
    """Untimed runs before each timed one."""


TORCH = Runtime("torch", "torch", oldest=(2, 6))
ON_CPU = Implementation("toy_plugin.engines:WarmTorch", "pip install torch", WarmOptions, TORCH)
WARM_TORCH = BackendInfo("warm_torch", {"cpu": ON_CPU})
