"""The page about a run, from its folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from models.spaces.registry import space_label
from models.spec.verdicts import Verdict
from nas_client.experiments.registry import EXPERIMENTS
from nas_client.report.blocks import Block, Grid, Section, Text, embedded, milliseconds, percent, render
from nas_client.report.experiments import experiment_section
from nas_client.report.folder import RunFolder, ValidationFiles, read_run
from nas_client.report.searches import search_section
from nas_client.report.selections import selection_section
from nas_client.report.trainings import evaluations_section, results_section, trainings_section
from nas_client.table import LookupTable
from nas_client.validation.scoring import Validation


def report(folder: Path, title: str = "") -> str:
    """One HTML page about everything in the folder. It also lists the parts that are absent.

    Args:
        folder: of a run; see `read_run`.
        title: of the page; the folder's name where empty.

    Raises:
        ReportError, InvalidSpecError, TableFileError, OSError: see `read_run`.
        CheckpointError: weights that an evaluation may be of are damaged.
    """
    run = read_run(folder)
    sections = list(_sections(run))
    absent = _absent(run)
    if absent:
        sections.append(Section("absent", "Not in this run", [Text(line) for line in absent]))
    return render(title or folder.resolve().name, sections)


def _sections(run: RunFolder) -> Iterator[Section]:
    if run.trainings:
        yield results_section(run)
    for index, search in enumerate(run.searches):
        yield search_section(search, index)
    for index, selection in enumerate(run.selections):
        yield selection_section(selection, index)
    if run.trainings:
        yield trainings_section(run)
    if run.evaluations:
        yield evaluations_section(run)
    for experiment in EXPERIMENTS:
        for index, result in enumerate(run.experiments.get(experiment.name, ())):
            yield experiment_section(experiment, result, index)
    if run.validations:
        yield Section("validation", "Estimate against measurement", [b for v in run.validations for b in _validation(v)])
    if run.tables:
        yield Section("table", "Latency table", [_table(name, table) for name, table in run.tables.items()])


def _absent(run: RunFolder) -> list[str]:
    """The parts that this run lacks, each with the command that makes it."""
    parts = {
        "A search (`nas-client search`).": run.searches,
        "A training (`nas-client train`).": run.trainings,
        "An evaluation (`nas-client evaluate`).": run.evaluations,
        "A validation of the table (`nas-client validate`).": run.validations,
        "A latency table (`nas-client pull`).": run.tables,
        "Experiments (`nas-client experiment`).": run.experiments,
    }
    return [line for line, found in parts.items() if not found]


def _validation(files: ValidationFiles) -> Iterator[Block]:
    validation = files.validation
    shown = {"sum of table entries": validation.raw, "calibrated sum": validation.calibrated, "multiply-adds": validation.macs}
    rows = [
        (
            name,
            f"{agreed.pearson:.4f}",
            "{:.4f} to {:.4f}".format(*agreed.pearson_ci95),
            percent(agreed.mape),
            percent(agreed.worst_error),
            percent(agreed.within_5, 0),
        )
        for name, agreed in shown.items()
    ]
    repeat = validation.repeatability
    known = f" The networks themselves repeat to {percent(repeat)} % between rounds." if repeat is not None else ""
    headings = ("estimate", "Pearson", "95 % interval", "mean error (%)", "worst (%)", "within 5 % (%)")
    yield Grid(headings, rows, f"{validation.architectures} random networks, measured.{known}{_beside(validation)}")
    if validation.verdict is not None:
        yield Text(_verdict(validation.verdict))
    if validation.named:
        named = [
            (
                network.label,
                milliseconds(network.measured_ms),
                milliseconds(network.sum_ms),
                f"{100 * (network.sum_ms / network.measured_ms - 1):+.1f}",
                milliseconds(network.calibrated_ms),
                " to ".join(milliseconds(ms) for ms in network.interval_ms),
            )
            for network in validation.named
        ]
        columns = ("network", "measured (ms)", "sum (ms)", "sum is off by (%)", "calibrated (ms)", "95 % of such networks (ms)")
        yield Grid(columns, named, "Networks of this run, measured beside the random ones; no fit has seen them.")
    if files.figure is not None:
        yield embedded(files.figure, "Estimated against measured latency, network by network.")


def _beside(validation: Validation) -> str:
    """What was found without sentinel normalisation."""
    if (plain := validation.plain) is None:
        return ""
    return (
        f" Without sentinel normalisation, sums are {percent(plain.raw.mape)} % off; scaled latencies are "
        f"{plain.scaled_over_plain:.3f} times plain ones, in the median."
    )


def _verdict(verdict: Verdict) -> str:
    """The word, and the reasons, in one sentence."""
    reasons = "; ".join(reason.text for reason in verdict.reasons)
    return f"Verdict: {verdict.level.value}{': ' if reasons else ''}{reasons}."


def _table(name: str, table: LookupTable) -> Grid:
    info = table.info
    target = info.target
    failed = table.failed
    rows = [
        ("file", name),
        ("table id", info.id()),
        ("search space", space_label(info.space)),
        *((f"space parameter {key}", str(value)) for key, value in info.space.parameters.items()),
        ("entries", f"{len(table)}, {failed} of them without a value"),
        ("target", target.label()),
        *((f"version of {key}", value) for key, value in target.versions.items()),
        ("verdict", _verdict(table.verdict).removeprefix("Verdict: ").removesuffix(".")),
        ("protocol", f"{info.protocol.value}, version {info.protocol_version}"),
        ("made", info.created_at.isoformat(timespec="seconds") if info.created_at else "unknown"),
    ]
    return Grid(("", ""), rows, "Identity of the table; numbers of other tables must not be mixed with its own.", numbers=2)
