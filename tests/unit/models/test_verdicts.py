"""What entries say of a table: shares of those that failed, and of those that are too short."""

from __future__ import annotations

import pytest

from models.spec.measurements import Flag, Measurement, Status
from models.spec.operators import OperatorSpec
from models.spec.verdicts import TrustLevel, Verdict, entry_reasons


def table(good: int, *, failed: int = 0, short: int = 0) -> list[Measurement]:
    kinds = ["good"] * good + ["failed"] * failed + ["short"] * short
    found = []
    for channels, kind in enumerate(kinds, start=1):
        operator = OperatorSpec(kind="conv3x3", in_channels=channels, out_channels=8, height=8, width=8)
        if kind == "failed":
            found.append(Measurement(workload=operator, status=Status.BUILD_ERROR, message="refused"))
        else:
            flags = (Flag.BELOW_RESOLUTION,) if kind == "short" else ()
            found.append(Measurement(workload=operator, value_ms=0.0 if flags else 1.0, stderr_ms=0.001, flags=flags))
    return found


@pytest.mark.parametrize(
    ("entries", "level", "reason"),
    [
        (table(10), TrustLevel.TRUSTWORTHY, ""),
        (table(9, failed=1), TrustLevel.TRUSTWORTHY, ""),
        (table(8, failed=2), TrustLevel.NOISY, "2 of 10 entries failed"),
        (table(5, short=5), TrustLevel.TRUSTWORTHY, ""),
        (table(4, short=6), TrustLevel.NOISY, "6 of 10 entries take too little to be told from nothing"),
        (table(0, failed=5), TrustLevel.UNUSABLE, "none of the entries has a value above zero"),
    ],
)
def test_shares_that_failed_or_are_too_short(entries: list[Measurement], level: TrustLevel, reason: str) -> None:
    verdict = Verdict.of(entry_reasons(entries))
    assert verdict.level is level
    assert [found.text for found in verdict.reasons] == ([reason] if reason else [])
