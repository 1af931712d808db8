"""How a part ended, as its `result.json` says, and the report of all parts.

The result decides whether a part is repeated. The report is a document for programs and a page for people.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field

from models.atomic_file import replacing
from models.spec.base import Record, UtcTime
from profiler_service.backends.backend_options import ENVIRONMENT_PREFIX

FILE = "result.json"


class Outcome(StrEnum):
    """How far a part came."""

    DONE = "done"
    """Everything was measured, and every check passed."""
    SKIPPED = "skipped"
    """The part does not apply here; `reason` states why."""
    UNFINISHED = "unfinished"
    """The time was up. The next call continues the part."""
    FAILED = "failed"
    """A command or a check failed; `reason` names it."""


class Check(Record):
    """One check. With `aim`, it is only reported and does not fail the part."""

    name: str
    passed: bool
    detail: str
    aim: bool = False


class CommandRecord(Record):
    """One command that the part ran. Its output is in `NAME.out` and `NAME.err` beside the result."""

    name: str
    arguments: tuple[str, ...]
    environment: dict[str, str]
    returncode: int
    seconds: float


class PartResult(Record):
    """One run of a part, except for its raw files.

    Attributes:
        summary: numbers of the part.
        visits: visits in its databases when it was interrupted, else 0. A larger number shows that an interrupted call made
            progress.
        provenance: of the code and the box, and which settings of the environment differ from the defaults, by their variable.
    """

    version: int = 1
    part: str
    outcome: Outcome
    reason: str = ""
    checks: tuple[Check, ...] = ()
    summary: dict[str, Any] = Field(default_factory=dict)
    visits: int = 0
    commands: tuple[CommandRecord, ...] = ()
    started_at: UtcTime
    seconds: float
    provenance: dict[str, str] = Field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the part is done."""
        return self.outcome is Outcome.DONE


def read_result(folder: Path) -> PartResult | None:
    """The result in that folder; None where there is none."""
    path = folder / FILE
    return PartResult.parse_json(path.read_bytes(), source=str(path)) if path.exists() else None


def write_result(result: PartResult, folder: Path) -> None:
    """Write the result to the part's folder. It replaces an earlier one."""
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / FILE) as part:
        part.write_text(result.model_dump_json(indent=2) + "\n")


JSON, PAGE = "report.json", "report.md"
MINE = "report"


def write_report(output: Path) -> dict[str, Any]:
    """Writes both files into the folder of all parts; returns how each part ended."""
    results = read_all(output)
    document = {"parts": {name: json.loads(result.model_dump_json()) for name, result in results.items()}}
    (output / JSON).write_text(json.dumps(document, indent=2) + "\n")
    (output / PAGE).write_text(page(results))
    return {"parts": {name: result.outcome.value for name, result in results.items()}}


def read_all(output: Path) -> dict[str, PartResult]:
    """The parts' results by name, in the order in which they began."""
    found = [read_result(path.parent) for path in output.glob(f"*/{FILE}")]
    results = sorted((result for result in found if result is not None), key=lambda result: result.started_at)
    return {result.part: result for result in results if result.part != MINE}


def page(results: dict[str, PartResult]) -> str:
    """Markdown: the parts, then the numbers of each kind of part that has any."""
    lines = ["# What this box showed", "", *_settings(results), "| part | outcome | minutes | |", "|---|---|---|---|"]
    for name, result in results.items():
        lines.append(f"| {name} | {result.outcome.value} | {result.seconds / 60:.1f} | {_cell(result.reason)} |")
    for title, heading, rows in (
        ("Checks", "| part | check | | found |", _checks(results)),
        (
            "Tables",
            "| table | entries | failed | minutes | entries/s | CV | between rounds | standard error | unconverged |",
            _tables(results),
        ),
        (
            "Builds",
            "| table | entries built anew | failed | seconds | between builds | worst | within a build | |",
            _builds(results),
        ),
        (
            "Repeatability",
            "| part | dtype | median difference, worst pair | 95th percentile, worst pair |",
            _repeatability(results),
        ),
        ("Table 1", "| part | table | operator | ms | paper |", _table1(results)),
        ("Networks", "| part | estimate | Pearson (95 %) | mean error | worst | within 5 % |", _networks(results)),
        ("Student", "| part | protocol | measured (ms) | frames/s | sum (ms) | error |", _student(results)),
    ):
        found = list(rows)
        if found:
            columns = heading.count("|") - 1
            lines += ["", f"## {title}", "", heading, "|" + "---|" * columns, *found]
    return "\n".join(lines) + "\n"


def _settings(results: dict[str, PartResult]) -> Iterator[str]:
    """Settings other than the defaults. All parts have the same, except for settings that change no number."""
    found = {
        f"{name}={value}"
        for result in results.values()
        for name, value in result.provenance.items()
        if name.startswith(ENVIRONMENT_PREFIX)
    }
    if found:
        yield from (f"Under {', '.join(f'`{setting}`' for setting in sorted(found))}.", "")


def _checks(results: dict[str, PartResult]) -> Iterator[str]:
    for name, result in results.items():
        for check in result.checks:
            verdict = "passed" if check.passed else ("aim missed" if check.aim else "FAILED")
            yield f"| {name} | {check.name} | {verdict} | {_cell(check.detail)} |"


def _tables(results: dict[str, PartResult]) -> Iterator[str]:
    for name, summary in _summaries(results, "table-", "entries"):
        noise = [_percent(summary[key]) for key in ("median_cv", "median_between_round_spread", "median_relative_stderr")]
        speed = f"{summary['minutes']:.2f} | {summary['entries_per_s']}"
        size = f"{summary['entries']} | {summary['failed']}"
        yield f"| {name} | {size} | {speed} | {' | '.join(noise)} | {summary['unconverged']} |"


def _builds(results: dict[str, PartResult]) -> Iterator[str]:
    for name, summary in _summaries(results, "table-", "rebuilds"):
        found = summary["rebuilds"]
        spreads = [_percent(found.get(key)) for key in ("between_builds", "worst_between_builds", "within_a_build")]
        size = f"{found['entries']}, {found['builds']} times | {found['failed']} | {found['seconds']:.1f}"
        yield f"| {name} | {size} | {' | '.join(spreads)} | {'on a throttled device' if found['throttled'] else ''} |"


def _repeatability(results: dict[str, PartResult]) -> Iterator[str]:
    for name, summary in _summaries(results, "repeatability-", "pairs"):
        tail = max(pair["p95_absolute"] for pair in summary["pairs"].values())
        yield f"| {name} | {summary['dtype']} | {_percent(summary['median_relative_difference'])} | {_percent(tail)} |"


def _table1(results: dict[str, PartResult]) -> Iterator[str]:
    for name, summary in _summaries(results, "table1-", "measured"):
        for table, rows in summary["measured"].items():
            for operator, ms in rows.items():
                shown = "failed" if ms["ms"] is None else f"{ms['ms']:.4f}"
                yield f"| {name} | {table} | {operator} | {shown} | {ms['paper_ms']} |"


def _networks(results: dict[str, PartResult]) -> Iterator[str]:
    for name, summary in _summaries(results, "validation-", "protocols"):
        estimates = {
            f"{protocol}, {kind}": agreed for protocol, kinds in summary["protocols"].items() for kind, agreed in kinds.items()
        }
        for estimate, agreed in {**estimates, "multiply-adds, fitted": summary["macs"]}.items():
            low, high = agreed["pearson_ci95"]
            correlation = f"{agreed['pearson']:.4f} ({low:.4f} to {high:.4f})"
            errors = " | ".join(_percent(agreed[key]) for key in ("mape", "worst_error", "within_5"))
            yield f"| {name} | {estimate} | {correlation} | {errors} |"
        yield f"| {name} | the networks' own spread between rounds | | {_percent(summary['repeatability'])} | | |"


def _student(results: dict[str, PartResult]) -> Iterator[str]:
    for name, summary in _summaries(results, "student-", "tables"):
        for row in summary["tables"]:
            missing = "refused | " if row["refused"] else "failed | "
            measured = missing if row["measured_ms"] is None else f"{row['measured_ms']:.4f} | {row['frames_per_s']:.1f}"
            yield f"| {name} | {row['protocol']} | {measured} | {row['sum_ms']:.4f} | {_percent(row['error'])} |"


def _summaries(results: dict[str, PartResult], prefix: str, needed: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The summaries of parts of that kind which came as far as having that number."""
    for name, result in results.items():
        if name.startswith(prefix) and needed in result.summary:
            yield name, result.summary


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.2%}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())[:300]
