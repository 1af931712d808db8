"""Tables to test with: small ones made by hand, and any at all for properties."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from models.spec import limits
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.measurements import Flag, Measurement, ProtocolName, Status, Workload
from models.spec.operators import OperatorSpec
from models.spec.rebuilds import RebuildSpread, RebuiltEntry
from models.spec.scale import Scale
from models.spec.tables import Table, TableInfo
from models.spec.targets import TargetSpec

A_TIME = datetime(2024, 5, 17, 9, 30, 15, 123456, tzinfo=UTC)
SPACE = SpaceSpec(name="toy", input_size=(64, 128), parameters={"layers": 3, "widths": (4, 8)}, version=1)
TARGET = TargetSpec(device="Some CPU", backend="onnxruntime", versions={"onnxruntime": "1.20.0"}, threads=1)


def info(**changes: Any) -> TableInfo:
    """The identity of a table, with whatever differs."""
    fields: dict[str, Any] = {"target": TARGET, "space": SPACE, "created_at": A_TIME, "provenance": {"host": "box"}}
    return TableInfo(**(fields | changes))


def operator(out_channels: int = 8, **changes: Any) -> OperatorSpec:
    """A small operator."""
    fields: dict[str, Any] = {"kind": "zoomed_conv3x3", "in_channels": 4, "height": 16, "width": 32}
    return OperatorSpec(**(fields | {"out_channels": out_channels} | changes))


def architecture(*operators: str) -> ArchitectureSpec:
    """A small architecture."""
    return ArchitectureSpec(
        space="toy", input_size=(64, 128), genotype={"branches": [{"operators": operators or ("conv3x3",)}]}
    )


def measurement(workload: Workload | None = None, value_ms: float = 0.25, **changes: Any) -> Measurement:
    """A good measurement."""
    fields: dict[str, Any] = {"workload": workload or operator(), "value_ms": value_ms, "measured_at": A_TIME}
    return Measurement(**(fields | changes))


def failure(workload: Workload | None = None, status: Status = Status.CRASHED, message: str = "signal 11") -> Measurement:
    """A workload that could not be measured."""
    return Measurement(workload=workload or operator(), status=status, message=message)


def table(entries: int = 3, **changes: Any) -> Table:
    """A table of that many good entries and one that failed."""
    good = [measurement(operator(8 + index), value_ms=(1 + index) / 3, flags=(Flag.UNCONVERGED,)) for index in range(entries)]
    return Table(info=info(**changes), entries=(*good, failure(operator(1), message='no "engine",\r\nnone')))


def table_on_gpu() -> Table:
    """A table with everything that files hold since their second version."""
    entry = RebuiltEntry(key=operator().key(), label=operator().label(), value_ms=0.25, between_ms=0.002, within_ms=0.004)
    spread = RebuildSpread(builds=3, rounds=6, entries=(entry,), failed=1, measured_at=A_TIME)
    state = {"power_w": 310.5, "other_processes": 1, "samples_set_aside": 12, "throttle_reasons": "power_cap, thermal"}
    good = measurement(clock_before_mhz=1980.0, clock_after_mhz=1965.0, flags=(Flag.THROTTLED,), **state)
    return Table(info=info(protocol=ProtocolName.ISOLATED_COLD, rebuild_spread=spread), entries=(good,))


def table_of_a_network() -> Table:
    """A table of an operator and an architecture."""
    return Table(info=info(), entries=(measurement(), measurement(architecture("conv3x3", "skip"))))


_finite = st.floats(allow_nan=False, allow_infinity=False)
_positive = st.floats(min_value=1e-6, max_value=1e6)
_counts = st.integers(0, limits.MAX_COUNT)
_times = st.datetimes(timezones=st.just(UTC))
_texts = st.text(max_size=20)
_names = st.text(min_size=1, max_size=20)
_sides = st.integers(1, 32)

operators = st.builds(
    operator,
    kind=st.sampled_from(["skip", "conv3x3", "zoomed_conv3x3"]),
    out_channels=st.integers(1, 64),
    height=_sides,
    width=_sides,
    batch=st.integers(1, 4),
    dtype=st.sampled_from(["float32", "float16", "bfloat16"]),
)
architectures = st.lists(_names, min_size=1, max_size=4).map(lambda names: architecture(*names))

_optional_floats = {
    name: st.none() | _finite
    for name, field in Measurement.model_fields.items()
    if field.annotation == (float | None) and name not in ("value_ms", "stderr_ms")
}


@st.composite
def measurements(draw: st.DrawFn) -> Measurement:
    """Any measurement: of either kind of workload, good or failed, with any numbers that a float can hold."""
    fields: dict[str, Any] = {name: draw(values) for name, values in _optional_floats.items()}
    positive = st.floats(min_value=0, allow_infinity=False)
    status = draw(st.sampled_from(Status))
    good = status is Status.OK
    return Measurement(
        workload=draw(operators | architectures),
        status=status,
        message=draw(_texts if good else _names),
        value_ms=draw(positive) if good else None,
        stderr_ms=draw(st.none() | positive),
        samples=draw(_counts),
        rounds=draw(_counts),
        engine_bytes=draw(st.none() | _counts),
        peak_memory_bytes=draw(st.none() | _counts),
        other_processes=draw(st.none() | _counts),
        samples_set_aside=draw(st.none() | _counts),
        throttle_reasons=draw(st.none() | _names),
        measured_at=draw(st.none() | _times),
        flags=tuple(draw(st.lists(st.sampled_from(Flag), unique=True))),
        **fields,
    )


infos = st.builds(
    TableInfo,
    target=st.builds(TargetSpec, device=_names, backend=_names, versions=st.dictionaries(_texts, _texts, max_size=3)),
    space=st.just(SPACE),
    protocol=st.sampled_from(ProtocolName),
    scale=st.none() | st.builds(Scale, reference_ms=_positive, stderr_ms=_positive, unsettled=_texts),
    created_at=st.none() | _times,
    provenance=st.dictionaries(_texts, _texts, max_size=3),
)
tables = st.builds(Table, info=infos, entries=st.lists(measurements(), max_size=4, unique_by=Measurement.key).map(tuple))
