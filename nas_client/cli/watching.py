"""A job's progress on the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from models.terminal import job_progress
from nas_client.cli.options import say

if TYPE_CHECKING:
    from nas_client.jobs import Watch


@contextmanager
def watching(title: str) -> Iterator[Watch]:
    """A progress bar with ETA; call what this gives with every state of the job."""
    with job_progress(title) as show:
        try:
            yield show
        except KeyboardInterrupt:
            say("interrupted: the job is called off; what was measured is kept, and the same command goes on with the rest")
            raise
