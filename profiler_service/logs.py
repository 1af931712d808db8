"""Structured logs of the process on stderr: ours by structlog, and those of libraries through the same renderer."""

from __future__ import annotations

import logging
import sys
from collections import OrderedDict, deque
from collections.abc import MutableMapping
from threading import Lock
from typing import Any

import structlog
from structlog.typing import Processor

from profiler_service.settings import LogForm, LogLevel

_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)

_VERBOSE = ("alembic", "uvicorn")
"""Libraries whose messages at level `info` are of interest only to their developers."""


class JobLog:
    """The latest lines of the log that are about a job, in memory: a structlog processor. For any number of threads.

    Args:
        jobs: of which lines are kept.
        lines: of each.
    """

    def __init__(self, jobs: int = 50, lines: int = 200) -> None:
        self._jobs, self._most = jobs, lines
        self._lock = Lock()
        self._lines: OrderedDict[str, deque[str]] = OrderedDict()

    def __call__(self, logger: object, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Keep the line, if it names a job, and pass it on."""
        if isinstance(job := event.get("job"), str):
            beside = {"event", "job", "level", "logger", "timestamp", "exc_info"}
            more = " ".join(f"{key}={value}" for key, value in event.items() if key not in beside)
            time = str(event.get("timestamp", ""))[:19].replace("T", " ")
            with self._lock:
                lines = self._lines.setdefault(job, deque(maxlen=self._most))
                lines.append(f"{time} {event.get('level', name)}: {event.get('event', '')} {more}".rstrip()[:1_000])
                self._lines.move_to_end(job)
                while len(self._lines) > self._jobs:
                    self._lines.popitem(last=False)
        return event

    def lines(self, job: str) -> list[str]:
        """Of that job, oldest first."""
        with self._lock:
            return list(self._lines.get(job, ()))


def configure_logs(level: LogLevel, form: LogForm = "console", *, keep: JobLog | None = None) -> None:
    """Send every log line of this process from that severity on to stderr; stdout is for results.

    Args:
        level: least severity.
        form: for people or for a collector.
        keep: also receives the lines.
    """
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *([structlog.processors.format_exc_info] if form == "json" else []),
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if level == "info":
        for name in _VERBOSE:
            logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            *([] if keep is None else [keep]),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
