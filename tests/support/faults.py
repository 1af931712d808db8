"""What can go wrong with an engine, and graphs that make it go wrong. Nothing is registered by importing this."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from tempfile import gettempdir

from models.spec.graphs import GraphRequest
from models.spec.operators import OperatorSpec
from profiler_service.backends.base import GraphArtifact

BACKEND = "faulty"
MODULE = "tests.support.faulty_backend"
BUILDS_FILE = "FAULTY_BUILDS_FILE"
"""The variable of the environment that names a file to which each build adds its graph's key."""
KILLING_SPACE = "killing"
KILLING_SPACE_MODULE = "tests.support.killing_space"


class Fault(IntEnum):
    """A fault; its value is the number of input channels of the graphs that have it."""

    NONE = 1
    SEGFAULT_IN_BUILD = 2
    EXIT_IN_BUILD = 3
    HANG_IN_BUILD = 4
    KILLED_IN_FIRST_RUN = 5
    HANG_IN_FIRST_RUN = 6
    KILLED_IN_PASSES = 7
    BUILD_ERROR = 8
    RUN_ERROR = 9
    NO_MEMORY_IN_BUILD = 10
    NO_MEMORY_IN_RUN = 11
    RUN_ERROR_IN_PASSES = 12
    WRONG_SHAPE = 13
    NAN = 14
    BUG = 15
    SILENT_EXIT_IN_BUILD = 16
    BREAKS_DEVICE_IN_RUN = 17
    CHANGES = 18
    HANG_WITH_CHILD = 19
    CRASH_WITH_CHILD = 20
    LARGE_BUILD = 21
    LARGE_RUN = 22


def faulty(fault: Fault, number: int = 0) -> GraphArtifact:
    """A graph with that fault; different numbers make different graphs. Its right output is the input."""
    return GraphArtifact(
        GraphRequest(subject=OperatorSpec(kind="conv3x3", in_channels=fault, out_channels=1, height=4, width=4 + number))
    )


def child_file(service: int) -> Path:
    """Where a build of `HANG_WITH_CHILD` or `CRASH_WITH_CHILD` in a worker of that process leaves its child's number."""
    return Path(gettempdir()) / f"opclock-child-{service}"


def with_reference(artifact: GraphArtifact, path: Path) -> GraphArtifact:
    """The same graph with a reference file."""
    return GraphArtifact(artifact.request, reference_path=path)
