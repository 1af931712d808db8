"""The raw material of a measurement: what one visit to one graph gave."""

from __future__ import annotations

from array import array
from typing import Annotated

from pydantic import Field

from models.spec.base import Record, UtcTime
from models.spec.graphs import GraphRequest
from models.spec.measurements import ProtocolName, Workload
from models.spec.operators import OperatorSpec

Key = Annotated[str, Field(min_length=1, max_length=64)]

MOST_OTHERS_BUSY = 0.15
"""Share of the cores that others may keep busy on a quiet machine: less than one of six, and one of eight."""


MOST_STOLEN = 0.03
"""Share of the time that a hypervisor may take on a quiet machine."""

Index = Annotated[int, Field(ge=0, le=2**31 - 1)]


def graph_key(workload: Workload, protocol: ProtocolName) -> str:
    """Key of the graph that is timed for a workload."""
    in_context = protocol is ProtocolName.IN_CONTEXT and isinstance(workload, OperatorSpec)
    return GraphRequest(subject=workload, in_context=in_context).key()


class DeviceState(Record):
    """The device while a visit was timed, as far as it reports it (docs/measurement.md).

    Attributes:
        clock_before_mhz, clock_after_mhz, temperature_before_c, temperature_after_c: at the visit's ends.
        power_w: median of its readings.
        other_processes: how many computed on the device besides this one, at the most.
        set_aside: samples of each graph that do not count, and are not stored: the clock was held down, or far below the usual.
        throttled: all of them were such, so that all are stored.
        reasons: why, sorted.
    """

    clock_before_mhz: float
    clock_after_mhz: float
    temperature_before_c: float | None = None
    temperature_after_c: float | None = None
    power_w: float | None = None
    other_processes: Index | None = None
    set_aside: Index = 0
    throttled: bool = False
    reasons: tuple[str, ...] = ()


class HostState(Record):
    """What else the machine did while a visit was timed; None for what the system does not report.

    Attributes:
        load: processes that ran or waited for a core, averaged over the last minute.
        cores: that this process may use.
        others_busy: cores that processes other than this job's kept busy, on average.
        stolen: share of the machine's time that its hypervisor gave to others.
        throttled: times that the control group's quota stopped this job.
    """

    load: float
    cores: Index
    others_busy: float | None = None
    stolen: float | None = None
    throttled: Index | None = None

    @property
    def busy(self) -> str:
        """What disturbs measuring on a processor, in words; empty where the machine is quiet or nothing is known."""
        found = []
        if self.others_busy is not None and self.others_busy > MOST_OTHERS_BUSY * max(self.cores, 1):
            found.append(f"others keep {self.others_busy:.1f} of {self.cores} cores busy")
        if self.stolen is not None and self.stolen > MOST_STOLEN:
            found.append(f"the hypervisor takes {self.stolen:.0%} of the time")
        if self.throttled:
            found.append(f"the CPU quota stopped the job {self.throttled} times")
        return ", ".join(found)


class Visit(Record):
    """The samples of one graph from one group of live engines, timed round-robin (docs/measurement.md).

    Attributes:
        graph_key: key of the `GraphRequest` that was timed.
        round: counted through the table's life.
        visit: index of the group within the round; a base graph is visited by every group that needs it.
        samples_ms: one time per pass that counts, not normalised. Stored in single precision.
        sentinel_ms: the sentinel's median over the same passes.
        passes: how many passes the group made, those set aside included.
        accepted: whether the sentinel was as fast as usual and no other work disturbed the visit.
        started_at: UTC time of the first pass.
        device: its state meanwhile; None where it reports nothing, as a CPU does.
        host: what else the machine did meanwhile; None for visits of releases that did not look.
    """

    graph_key: Key
    round: Index
    visit: Index
    samples_ms: tuple[float, ...]
    sentinel_ms: Annotated[float, Field(gt=0)]
    passes: Index
    accepted: bool
    started_at: UtcTime
    device: DeviceState | None = None
    host: HostState | None = None

    @property
    def throttled(self) -> bool:
        """Whether the device was slow all the time."""
        return self.device is not None and self.device.throttled

    def as_stored(self) -> Visit:
        """The visit with samples in single precision: values computed from it are those computed from stored visits."""
        return self.model_copy(update={"samples_ms": tuple(array("f", self.samples_ms))})

    @property
    def disturbed(self) -> bool:
        """See the function of that name."""
        return disturbed(self.device, self.host)


def disturbed(device: DeviceState | None, host: HostState | None) -> bool:
    """Whether others used what was timed on: a GPU, where the device reports its state, else the processor."""
    if device is not None:
        return bool(device.other_processes)
    return host is not None and bool(host.busy)
