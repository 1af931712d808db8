"""Everything that the parts left, in one document for programs and one page for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from profiler_service.backends.backend_options import ENVIRONMENT_PREFIX
from profiler_service.gpu_check.bench import Bench
from profiler_service.gpu_check.results import FILE, PartResult, read_result

JSON, PAGE = "report.json", "report.md"
MINE = "report"


def write(bench: Bench) -> None:
    """Both files, in the folder of all parts."""
    results = read_all(bench.output)
    document = {"parts": {name: json.loads(result.model_dump_json()) for name, result in results.items()}}
    (bench.output / JSON).write_text(json.dumps(document, indent=2) + "\n")
    (bench.output / PAGE).write_text(page(results))
    bench.summary = {"parts": {name: result.outcome.value for name, result in results.items()}}


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
    """Those that were not the usual ones, which are the same for all parts but for such as no number depends on."""
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
