"""Jobs of a service, seen through to their end."""

from __future__ import annotations

from collections.abc import Callable

from models.spec.wire import JobCreate, JobPublic, JobState
from nas_client.errors import JobFailedError
from nas_client.service import ServiceClient

Watch = Callable[[JobPublic], None]
"""Told of every state of a job, the final one included."""


def run_job(service: ServiceClient, request: JobCreate, watch: Watch) -> JobPublic:
    """Have something measured; returns the finished job, in which single workloads may have failed.

    Raises:
        ServiceError: the service refuses such a job.
        JobFailedError: see `finish_job`.
    """
    return finish_job(service, service.create_job(request), watch)


def finish_job(service: ServiceClient, job: JobPublic, watch: Watch) -> JobPublic:
    """Follow a job that was created, and return it finished.

    An interrupt from the keyboard cancels the job; a lost connection does not.

    Raises:
        JobFailedError: the job as a whole failed, or somebody cancelled it.
    """
    try:
        for job in service.follow(job.id):  # noqa: B020 - the job as it now stands
            watch(job)
    except KeyboardInterrupt:
        service.cancel(job.id)
        raise
    if job.state is not JobState.DONE:
        reason = f": {job.message}" if job.message else ""
        raise JobFailedError(
            f"job {job.id} {'was' if job.state is JobState.CANCELLED else 'has'} {job.state.value}{reason}",
            hint="What was measured is kept; the same command measures the rest.",
        )
    return job
