"""How pages write numbers, times and states. Whatever is missing or no number is written as what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from math import floor, isfinite, log10

from models.spec.measurements import Flag, Status
from models.spec.verdicts import TrustLevel
from models.spec.wire import JobState

NOTHING = "–"


def ms(value: float | None, digits: int = 4) -> str:
    """Milliseconds to that many significant digits, without a unit."""
    if value is None:
        return NOTHING
    if not isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    decimals = max(digits - 1 - floor(log10(abs(value))), 0)
    return f"{value:.{decimals}f}" if decimals <= 8 else f"{value:.{digits - 1}e}"


def percent(value: float | None, decimals: int = 1) -> str:
    """A fraction as a percentage."""
    if value is None:
        return NOTHING
    return f"{100 * value:.{decimals}f} %" if isfinite(value) else str(value)


def signed_percent(value: float | None) -> str:
    """A fraction as a percentage, with its sign; from ten times on as a factor."""
    if value is None or not isfinite(value):
        return percent(value)
    if value >= 9:
        return f"×{1 + value:.3g}"
    return f"{100 * value:+.1f} %".replace("-", "\N{MINUS SIGN}")


def chance(q: float) -> str:
    """A probability to three digits."""
    return "<0.001" if q < 0.001 else f"{q:.3f}"


def count(value: int) -> str:
    """With narrow spaces between thousands."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def plural(number: int, one: str, many: str = "") -> str:
    """`1 entry`, `2 entries`."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def duration(seconds: float | None) -> str:
    """`8 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds is None or not isfinite(seconds):
        return NOTHING
    whole = max(round(seconds), 0)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def when(instant: datetime | None) -> str:
    """In UTC, to the minute."""
    return NOTHING if instant is None else f"{instant:%Y-%m-%d %H:%M} UTC"


def words(name: str) -> str:
    """An identifier as words."""
    return name.replace("_", " ")


TONES: Mapping[str, str] = {
    TrustLevel.TRUSTWORTHY: "good",
    TrustLevel.NOISY: "warn",
    TrustLevel.UNSETTLED: "warn",
    TrustLevel.UNUSABLE: "bad",
    JobState.PLANNED: "busy",
    JobState.BUILDING: "busy",
    JobState.MEASURING: "busy",
    JobState.PAUSED: "warn",
    JobState.DONE: "good",
    JobState.FAILED: "bad",
    Status.OK: "good",
    Flag.UNCONVERGED: "warn",
    Flag.CONTAMINATED: "warn",
    Flag.THROTTLED: "warn",
}


def tone(name: str) -> str:
    """The colour class of a state, status, flag or level; none for what is neither good nor bad."""
    if name in {status.value for status in Status if status is not Status.OK}:
        return "bad"
    return TONES.get(name, "")


FILTERS: Mapping[str, Callable[..., str]] = {
    "ms": ms,
    "percent": percent,
    "signed_percent": signed_percent,
    "chance": chance,
    "count": count,
    "duration": duration,
    "when": when,
    "words": words,
    "tone": tone,
}
