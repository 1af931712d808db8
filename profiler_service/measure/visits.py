"""The raw material of a measurement: what one visit to one graph gave."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from models.spec.base import Record, UtcTime

Key = Annotated[str, Field(min_length=1, max_length=64)]
Index = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Visit(Record):
    """The samples of one graph from one group of live engines, timed in turn (docs/measurement.md).

    Attributes:
        graph_key: key of the `GraphRequest` that was timed.
        round, visit: the round, and the index of the group within it; a base graph is visited by every group that needs it.
        samples_ms: one time per pass, not normalised. Storage keeps them in single precision.
        sentinel_ms: the sentinel's median over the same passes.
        passes: how many passes the group made.
        accepted: whether the sentinel was steady enough for the visit to count.
        started_at: UTC time of the first pass.
    """

    graph_key: Key
    round: Index
    visit: Index
    samples_ms: tuple[float, ...]
    sentinel_ms: Annotated[float, Field(gt=0)]
    passes: Index
    accepted: bool
    started_at: UtcTime
