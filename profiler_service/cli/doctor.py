"""`doctor`: is this machine ready to measure?"""

from __future__ import annotations

from collections.abc import Iterable

import typer
from rich.console import Console
from rich.markup import escape

from models.spec.errors import ExitCode
from models.terminal import Json, emit
from profiler_service.cli.options import Backend, Database, Threads
from profiler_service.cli.runtime import describe_backend, load_settings
from profiler_service.findings import Finding, Outcome

_MARKS = {Outcome.OK: "[green]ok[/]     ", Outcome.WARNING: "[yellow]warning[/]", Outcome.PROBLEM: "[red]problem[/]"}


def doctor(database: Database = None, backend: Backend = None, threads: Threads = None, json: Json = False) -> None:
    """Check Python, GPUs, backends, database, disk and CPU; ends with 3 if something stands in the way of measuring."""
    from profiler_service.diagnosis import diagnose

    settings = load_settings(database=database, backend=backend, threads=threads)
    findings = list(diagnose(settings, describe_backend))
    ready = all(finding.outcome is not Outcome.PROBLEM for finding in findings)
    document = {"ready": ready, "findings": [finding.model_dump(mode="json") for finding in findings]}
    emit(document, as_json=json, text=lambda console: _show(console, findings))
    if not ready:
        raise typer.Exit(int(ExitCode.BAD_INPUT))


def _show(console: Console, findings: Iterable[Finding]) -> None:
    for finding in findings:
        console.print(f"{_MARKS[finding.outcome]} {finding.name}: {escape(finding.detail)}", soft_wrap=True)
        if finding.hint:
            console.print(f"        {escape(finding.hint)}", style="dim", soft_wrap=True)
