"""The service on the target box, which measures: its settings, its database, and HTTP.

These names are the public surface; everything else may change from release to release (docs/api.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from profiler_service.api.app import create_app
    from profiler_service.cli.runtime import describe_backend, open_runner, open_store
    from profiler_service.errors import ProfilerError
    from profiler_service.jobs.queue import JobQueue
    from profiler_service.settings import Settings
    from profiler_service.storage.store import Store
else:
    from models import lazy_exports

    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "profiler_service.api.app": ("create_app",),
            "profiler_service.cli.runtime": ("describe_backend", "open_runner", "open_store"),
            "profiler_service.errors": ("ProfilerError",),
            "profiler_service.jobs.queue": ("JobQueue",),
            "profiler_service.settings": ("Settings",),
            "profiler_service.storage.store": ("Store",),
        },
    )

__all__ = [
    "JobQueue",
    "ProfilerError",
    "Settings",
    "Store",
    "create_app",
    "describe_backend",
    "open_runner",
    "open_store",
]
