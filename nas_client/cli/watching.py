"""A job's progress on the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from models.spec.wire import JobPublic, JobState
from models.terminal import progress
from nas_client.jobs import Watch


@contextmanager
def watching(title: str) -> Iterator[Watch]:
    """A progress bar with ETA; call what this gives with every state of the job.

    The bar counts the share of the work that is done, in units of workloads: rounds go over all of them, so that none is
    finished before the last round.
    """
    with progress() as bar:
        task = bar.add_task(title, total=None, note="")

        def watch(job: JobPublic) -> None:
            total = job.counts.total
            done = total if job.state is JobState.DONE else job.fraction * total
            note = job.phase if job.eta_s is None else f"{job.phase}, about {job.eta_s:.0f} s left"
            bar.update(task, total=total, completed=done, note=note)

        yield watch
