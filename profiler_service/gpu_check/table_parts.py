"""Parts that measure operators: repeatability between processes, the paper's Table 1, tables, and publishing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from models.atomic_file import replacing
from models.spec.errors import ExitCode
from models.spec.measurements import ProtocolName
from models.spec.rebuilds import RebuildSpread
from models.spec.table_cards import CARD_SUFFIX, TABLE_SUFFIX
from models.spec.table_files import TableFormat, read_table, write_table
from models.spec.tables import Table
from models.spec.verdicts import TrustLevel, table_verdict
from models.spec.wire import Rebuild
from profiler_service.gpu_check.bench import Bench, Ended, OutOfTimeError, PartError, SkipPartError
from profiler_service.gpu_check.results import Outcome, read_result
from profiler_service.publishing import quality_of, validations, without_host

PROCESSES = 3
REPEATABILITY_AIM = 0.01
PROGRESS, TABLE = "progress.json", "table.parquet"
DEFAULT_PROTOCOL = ProtocolName.IN_CONTEXT.value
MEASURED = (int(ExitCode.DONE), int(ExitCode.WORKLOADS_FAILED))
"""Exit codes of a command that has measured: without failures, or with failures listed."""


def table_part(backend: str, dtype: str, protocol: str) -> str:
    """Name of the part that measures that table."""
    return f"table-{backend}-{dtype}-{protocol}"


def measured_table(bench: Bench, backend: str, dtype: str, protocol: str) -> str | None:
    """The id of that table once all shares are measured, with or without failures; None before."""
    result = read_result(bench.output / table_part(backend, dtype, protocol))
    if result is None or result.outcome not in (Outcome.DONE, Outcome.FAILED):
        return None
    return result.summary.get("table_id")


def repeatability(bench: Bench, backend: str) -> None:
    """Measure the same entries in fresh processes, in the first dtype that the backend supports."""
    refusals = []
    for dtype in bench.choices.dtypes:
        first = _process(bench, backend, dtype, 1)
        if isinstance(first, Path):
            others = [_process(bench, backend, dtype, number) for number in range(2, PROCESSES + 1)]
            _compare(bench, dtype, [path for path in (first, *others) if isinstance(path, Path)])
            return
        refusals.append(first)
    raise SkipPartError("; ".join(refusals))


def _process(bench: Bench, backend: str, dtype: str, number: int) -> Path | str:
    """The table of one process, or why the backend refuses. It has its own database and its own cache of graphs, timings and
    compiled code, so it learns nothing from earlier processes.
    """
    name = f"process-{number}"
    settings = bench.environment(
        backend,
        OPCLOCK_DATABASE=str(bench.folder / f"{name}.sqlite"),
        OPCLOCK_CACHE_DIR=str(bench.folder / f"{name}.graphs"),
    )
    options = ("--dtype", dtype, "--budget", bench.choices.budget, "--sample", bench.choices.sample, "--json")
    command = ("profiler-service", "profile", *bench.choices.space_options(), *options)
    ended = bench.run(name, *command, environment=settings, accepts=MEASURED)
    return ended.refusal or _export(bench, ended.document["table_id"], name, settings)


def _compare(bench: Bench, dtype: str, files: list[Path]) -> None:
    """Every pair of processes."""
    differences = {}
    for (i, one), (j, other) in combinations(enumerate(files, 1), 2):
        name = f"{i}-{j}"
        found = bench.run(f"diff-{name}", "profiler-service", "diff", one, other, "--json").document
        bench.check(f"{name}: the same table", found["same_table"], found["mismatch"] or "target, space and protocol agree")
        differences[name] = {key: found[key] for key in ("common", "median_relative", "median_absolute", "p95_absolute")}
    medians = [pair["median_absolute"] for pair in differences.values()]
    if None in medians:
        raise PartError("two processes have no value in common")
    worst = max(medians)
    bench.summary = {"dtype": dtype, "pairs": differences, "median_relative_difference": worst}
    bench.check("repeatability", worst < REPEATABILITY_AIM, f"{worst:.2%}; below {REPEATABILITY_AIM:.0%} is aimed at", aim=True)


def table1(bench: Bench, backend: str) -> None:
    """FasterSeg's Table 1 under every protocol that the backend supports: in one command, or one by one if it refuses one."""
    settings = bench.environment(
        backend, OPCLOCK_DATABASE=str(bench.folder / "table1.sqlite"), OPCLOCK_CACHE_DIR=str(bench.output / "graphs")
    )
    measured: dict[str, Any] = {}
    refused: dict[str, str] = {}
    for dtype in bench.choices.dtypes:
        protocols = bench.choices.protocols
        ended = _table1(bench, dtype, dtype, protocols, settings)
        if not ended.refusal:
            measured |= _by_protocol(dtype, ended.document)
            continue
        for protocol in protocols:
            name = f"{dtype}-{protocol}"
            ended = _table1(bench, name, dtype, (protocol,), settings)
            if ended.refusal:
                refused[name] = ended.refusal
            else:
                measured |= _by_protocol(dtype, ended.document)
    bench.summary = {"measured": measured, "refused": refused}
    if not measured:
        raise SkipPartError("; ".join(refused.values()))
    missing = [f"{name} {row}" for name, rows in measured.items() for row, ms in rows.items() if ms["ms"] is None]
    bench.check("every operator has a value", not missing, ", ".join(missing) or f"{len(measured)} tables of four")


def _table1(bench: Bench, name: str, dtype: str, protocols: Sequence[str], settings: dict[str, str]) -> Ended:
    """One command. Entries that an earlier command has measured are not measured again."""
    several = [option for protocol in protocols for option in ("--protocol", protocol)]
    options = ("--dtype", dtype, *several, "--budget", bench.choices.budget, "--json")
    return bench.run(name, "profiler-service", "table1", *options, environment=settings, accepts=MEASURED)


def _by_protocol(dtype: str, document: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds of each operator, ours and the paper's, by dtype and protocol."""
    found: dict[str, Any] = {}
    for row in document["operators"]:
        for latency in row["latencies"]:
            values = {"ms": latency["value_ms"], "paper_ms": row["paper"]["ms"]}
            found.setdefault(f"{dtype}-{latency['protocol']}", {})[row["name"]] = values
    return found


def table(bench: Bench, backend: str, dtype: str, protocol: str) -> None:
    """The table of the space, share by share. Entries that an earlier call has measured are not measured again.

    Under the default protocol build-to-build variance is measured too, once for each share.
    """
    choices = bench.choices
    progress = _Progress(bench.folder / PROGRESS)
    settings = bench.environment(backend)
    for number in range(1, choices.shares + 1):
        share = f"{number}/{choices.shares}"
        if progress.has(share):
            continue
        options = ("--dtype", dtype, "--protocol", protocol, "--budget", choices.budget, "--share", share, "--json")
        rebuild = Rebuild.ALWAYS if protocol == DEFAULT_PROTOCOL and not progress.has_values(share) else Rebuild.NEVER
        arguments = ("profiler-service", "profile", *choices.space_options(), *options, "--rebuild", rebuild.value)
        try:
            ended = bench.run(f"share-{number}", *arguments, environment=settings, accepts=MEASURED)
        except OutOfTimeError as late:
            progress.interrupted(late)
            bench.summary = {"shares_done": len(progress.done), "shares": choices.shares}
            raise
        _skip_if_refused(ended)
        progress.finished(share, ended.document, bench.commands[-1].seconds)
    path = _export(bench, progress.table_id, TABLE.removesuffix(TABLE_SUFFIX), settings)
    measured = read_table(path)
    bench.summary = _table_summary(measured, progress)
    failed = bench.summary["failed"]
    bench.check("every operator has a value", failed == 0, f"{failed} of {bench.summary['entries']} failed")
    verdict = "; ".join([bench.summary["verdict"], *bench.summary["reasons"]])
    bench.check("verdict", bench.summary["verdict"] == TrustLevel.TRUSTWORTHY, verdict, aim=True)
    if protocol == DEFAULT_PROTOCOL:
        _compare_builds(bench, measured.info.rebuild_spread, progress)


def publish(bench: Bench, target: Path, validation_part: str) -> None:
    """Publish every finished table, with its validation if there is one, to the folder that `nas-client --table NAME` reads."""
    choices, published = bench.choices, []
    for backend in choices.backends:
        for dtype in choices.dtypes:
            for protocol in choices.protocols:
                table_id = measured_table(bench, backend, dtype, protocol)
                if table_id is None:
                    continue
                report = bench.output / validation_part.format(backend=backend, dtype=dtype) / "report"
                report_option = ("--validation", report) if report.exists() and table_id in validations(report) else ()
                options = ("--table", table_id, "--directory", target, "--allow-missing", "--force", *report_option)
                name = f"{backend}-{dtype}-{protocol}"
                ended = bench.run(
                    name, "profiler-service", "publish", *options, "--json", environment=bench.environment(backend)
                )
                if ended.refusal:
                    raise PartError(ended.refusal)
                published.append(ended.document["name"])
    bench.summary = {"published": published, "suffixes": [TABLE_SUFFIX, CARD_SUFFIX]}
    if not published:
        raise SkipPartError("no table is finished yet")


class _Progress:
    """Which shares of a table are measured, and the time of all calls. A file stores it between calls."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state: dict[str, Any] = {"shares": {}, "table_id": None, "seconds": 0.0, "interruptions": 0}
        if path.exists():
            self._state = json.loads(path.read_text())

    @property
    def done(self) -> dict[str, Any]:
        """Share to its counts and phases."""
        shares: dict[str, Any] = self._state["shares"]
        return shares

    def has(self, share: str) -> bool:
        """Whether the share is measured without failures. Failures are tried again."""
        return share in self.done and not self.done[share]["counts"]["failed"]

    def has_values(self, share: str) -> bool:
        """Whether the share is measured and has at least one value."""
        counts = self.done[share]["counts"] if share in self.done else {}
        return bool(counts.get("measured") or counts.get("reused"))

    @property
    def table_id(self) -> str:
        """Id of the table of all shares."""
        return str(self._state["table_id"])

    @property
    def seconds(self) -> float:
        """Duration of all commands, including interrupted ones."""
        return float(self._state["seconds"])

    @property
    def rebuilds_s(self) -> float:
        """Seconds of them for measuring build-to-build variance. A killed command reports none."""
        return float(self._state.get("rebuilds_s", 0.0))

    def interrupted(self, late: OutOfTimeError) -> None:
        """Add the time of a share that was not finished in time."""
        self._state["interruptions"] += 1
        self._add(late.seconds, late.document if isinstance(late.document, dict) else {})

    def finished(self, share: str, document: dict[str, Any], seconds: float) -> None:
        """Add a measured share. Raises PartError if it went into a different table than earlier shares."""
        table_id = document["table_id"]
        if self._state["table_id"] not in (None, table_id):
            raise PartError(
                f"share {share} went into table {table_id}, earlier ones into {self.table_id}: the target has "
                f"changed; remove {self._path} to begin again"
            )
        self._state["table_id"] = table_id
        self.done[share] = {"counts": document["counts"], "seconds": document["seconds"]}
        self._add(seconds, document)

    def _add(self, seconds: float, document: dict[str, Any]) -> None:
        self._state["seconds"] += seconds
        self._state["rebuilds_s"] = self.rebuilds_s + document.get("seconds", {}).get("rebuilds_s", 0.0)
        with replacing(self._path) as part:
            part.write_text(json.dumps(self._state, indent=2) + "\n")


def _compare_builds(bench: Bench, spread: RebuildSpread | None, progress: _Progress) -> None:
    """Report build-to-build variance."""
    if spread is not None:
        bench.summary["rebuilds"] = {
            "entries": len(spread.entries),
            "failed": spread.failed,
            "builds": spread.builds,
            "throttled": spread.throttled,
            "seconds": round(progress.rebuilds_s, 3),
            **spread.fractions(),
        }
    detail = "build-to-build variance was not measured" if spread is None else spread.sentence()
    bench.check("builds are compared", spread is not None and not spread.failed, detail, aim=True)


def _table_summary(table: Table, progress: _Progress) -> dict[str, Any]:
    """Size, speed and noise of a table. Entries per second leave out measuring build-to-build variance."""
    entries = table.entries
    measuring_s = progress.seconds - progress.rebuilds_s
    quality, verdict = quality_of(table), table_verdict(table)
    return {
        "table_id": progress.table_id,
        "verdict": verdict.level.value,
        "reasons": [reason.text for reason in verdict.reasons],
        "entries": len(entries),
        "failed": sum(entry.value_ms is None for entry in entries),
        "seconds": round(progress.seconds, 1),
        "minutes": round(progress.seconds / 60, 2),
        "entries_per_s": round(len(entries) / measuring_s, 3) if measuring_s > 0 else None,
        "unconverged": sum("unconverged" in entry.flags for entry in entries),
        "median_cv": quality.cv,
        "median_between_round_spread": quality.between_round_spread,
        "median_relative_stderr": quality.relative_stderr,
    }


def _export(bench: Bench, table_id: str, name: str, settings: dict[str, str]) -> Path:
    """The exported table, without provenance of the host, because results are published."""
    path = bench.folder / f"{name}{TABLE_SUFFIX}"
    options = ("--table", table_id, "--format", "parquet", "-o", path, "--json")
    bench.run(f"export-{name}", "profiler-service", "export", *options, environment=settings)
    write_table(without_host(read_table(path)), path, TableFormat.PARQUET)
    return path


def _skip_if_refused(ended: Ended) -> None:
    if ended.refusal:
        raise SkipPartError(ended.refusal)
