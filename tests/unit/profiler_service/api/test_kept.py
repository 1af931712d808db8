"""Views of tables are made anew when their table has changed, but those of large tables not every second."""

from __future__ import annotations

from profiler_service.web.kept import COUNTS_FOR, LARGE_S, Kept


def test_a_view_that_took_long_counts_for_a_while() -> None:
    now_s = 0.0

    def made(what: str, takes_s: float) -> str:
        nonlocal now_s
        now_s += takes_s
        return what

    kept = Kept[str](100, len, clock=lambda: now_s)
    assert kept.get("small", "1", lambda: made("first", LARGE_S / 2)) == "first"
    assert kept.get("small", "2", lambda: made("second", 0.0)) == "second"
    assert kept.get("large", "1", lambda: made("first", 2 * LARGE_S)) == "first"
    assert kept.get("large", "2", lambda: made("second", 0.0)) == "first"
    now_s += COUNTS_FOR * 2 * LARGE_S
    assert kept.look("large", "1") == "first", "it is still that of its own version"
    assert kept.get("large", "2", lambda: made("second", 0.0)) == "second"
