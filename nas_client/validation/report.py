"""The files of a validation: numbers as JSON, every point as CSV, figures, and the calibration for later estimates.

They are written here, and read again for intervals of estimates; a published table has its validation on its card.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from models.spec.base import Record, canonical_json
from models.spec.errors import InvalidSpecError, TableMismatchError
from models.spec.measurements import ProtocolName
from models.spec.table_cards import CARD_SUFFIX, TableCard
from models.spec.validations import ValidationCreate, ValidationPoint
from nas_client.local_tables import may_be_name, named_table
from nas_client.runs.manifest import begin_run
from nas_client.settings import ClientSettings
from nas_client.table import LookupTable
from nas_client.validation.calibration import CalibrationFile
from nas_client.validation.plots import plot_comparison, plot_validation
from nas_client.validation.run import ValidationRun
from nas_client.validation.scoring import TableScore, Validation

VALIDATION, POINTS, CALIBRATION, FIGURE = "validation.json", "points.csv", "calibration.json", "correlation"
COMPARISON = "comparison"


class ComparedTable(Record):
    """What one of several tables is worth on the same networks."""

    table_id: str
    protocol: ProtocolName
    validation: Validation


class Comparison(Record):
    """Several tables, scored on the same networks, which were measured as the first was (`comparison.json`)."""

    tables: tuple[ComparedTable, ...]

    @classmethod
    def of(cls, run: ValidationRun) -> Self:
        """That of a run, its tables in their order."""
        pairs = zip(run.tables, run.scores, strict=True)
        tables = [
            ComparedTable(table_id=table.info.id(), protocol=table.info.protocol, validation=score.validation)
            for table, score in pairs
        ]
        return cls(tables=tuple(tables))


def write_report(run: ValidationRun, folder: Path) -> None:
    """Everything about the run's first table; and, where there are several, a comparison of all. Replaces an earlier report.

    Raises:
        RunFolderError: the folder holds another kind of run.
        OSError: the folder cannot be made or written.
    """
    begin_run(folder, "validation")
    table, score = run.tables[0], run.scores[0]
    _write_json(folder / VALIDATION, score.validation)
    calibration = CalibrationFile.of(table.info.id(), table.label(), table.info.scale, score.calibration)
    _write_json(folder / CALIBRATION, calibration)
    write_points(run, folder / POINTS)
    plot_validation(score, title(run, run.tables[:1]), folder / FIGURE)
    for suffix in (".json", ".md", ".png", ".svg"):  # of an earlier run in this folder, which may have had several tables
        (folder / f"{COMPARISON}{suffix}").unlink(missing_ok=True)
    if len(run.tables) > 1:
        names = [f"{table.info.protocol.value} ({table.info.id()[:8]})" for table in run.tables]
        by_name = dict(zip(names, run.scores, strict=True))
        plot_comparison(by_name, title(run, run.tables), folder / COMPARISON)
        (folder / f"{COMPARISON}.md").write_text(comparison_table(by_name), encoding="utf-8")
        _write_json(folder / f"{COMPARISON}.json", Comparison.of(run))


def title(run: ValidationRun, tables: Sequence[LookupTable]) -> str:
    """Two lines above a figure: what was estimated and measured, and where."""
    info = run.tables[0].info
    named = " and ".join(f"{table.info.id()[:8]} ({table.info.protocol.value})" for table in tables)
    return f"{len(run.networks)} networks of {info.space.label()}\n{info.target.label()}; table {named}"


def comparison_table(scores: dict[str, TableScore]) -> str:
    """A Markdown table: one row per table and estimate, the shared baseline of multiply-adds last."""
    lines = [
        "| table | estimate | Pearson (95 % interval) | Kendall τ | mean error | worst | within 5 % | slope | intercept |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(name, estimate, score) for name, score in scores.items() for estimate in ("raw", "calibrated")]
    lines.append(_row("none", "macs", next(iter(scores.values()))))
    return "\n".join(lines) + "\n"


def to_post(run: ValidationRun) -> ValidationCreate:
    """The first table's validation as a service keeps it (`ServiceClient.post_validation`)."""
    score = run.scores[0]
    points = tuple(
        ValidationPoint(
            architecture=network.architecture,
            measured_ms=measurement.value_ms or 0.0,
            stderr_ms=measurement.stderr_ms,
            sum_ms=score.sums[index].ms,
            calibrated_ms=float(score.calibrated.prediction.ms[index]),
            macs_ms=float(score.macs.prediction.ms[index]),
            multiply_adds=network.macs,
        )
        for index, (network, measurement) in enumerate(zip(run.networks, run.measurements, strict=True))
    )
    return ValidationCreate(summary=score.validation.model_dump(mode="json"), points=points)


def write_points(run: ValidationRun, path: Path) -> None:
    """One row per sampled network: what was measured and what each estimate says, or why it was left out."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows(_rows(run))


_COLUMNS = (
    *("key", "operators", "multiply_adds", "measured_ms", "stderr_ms", "plain_ms", "between_round_spread", "rounds", "flags"),
    *("sum_ms", "sum_low_ms", "sum_high_ms", "sum_plain_ms", "calibrated_ms", "calibrated_low_ms", "calibrated_high_ms"),
    *("macs_ms", "half", "left_out", "architecture"),
)


def _rows(run: ValidationRun) -> Iterator[dict[str, object]]:
    score = run.scores[0]
    calibrated, macs = score.calibrated.prediction, score.macs.prediction
    for index, (network, measurement) in enumerate(zip(run.networks, run.measurements, strict=True)):
        summed = score.sums[index]
        low_ms, high_ms = summed.interval_ms or (None, None)
        yield {
            "key": network.architecture.key(),
            "operators": len(network.operators),
            "multiply_adds": network.macs,
            "measured_ms": measurement.value_ms,
            "stderr_ms": measurement.stderr_ms,
            "plain_ms": measurement.plain_ms,
            "between_round_spread": measurement.between_round_spread,
            "rounds": measurement.rounds,
            "flags": " ".join(flag.value for flag in measurement.flags),
            "sum_ms": summed.ms,
            "sum_low_ms": low_ms,
            "sum_high_ms": high_ms,
            "sum_plain_ms": summed.plain_ms,
            "calibrated_ms": float(calibrated.ms[index]),
            "calibrated_low_ms": float(calibrated.low_ms[index]),
            "calibrated_high_ms": float(calibrated.high_ms[index]),
            "macs_ms": float(macs.ms[index]),
            "half": 1 if score.calibrated.first_half[index] else 2,
            "architecture": canonical_json(network.architecture.model_dump(mode="json")),
        }
    for left in run.left_out:
        yield {
            "key": left.network.architecture.key(),
            "operators": len(left.network.operators),
            "multiply_adds": left.network.macs,
            "left_out": left.reason,
            "architecture": canonical_json(left.network.architecture.model_dump(mode="json")),
        }


def _row(name: str, estimate: str, score: TableScore) -> str:
    agreed = getattr(score.validation, estimate)
    low, high = agreed.pearson_ci95
    shown = {"raw": "sum", "calibrated": "calibrated", "macs": "multiply-adds, fitted"}[estimate]
    return (
        f"| {name} | {shown} | {agreed.pearson:.4f} ({low:.4f} to {high:.4f}) | {agreed.kendall:.3f} | {agreed.mape:.2%} "
        f"| {agreed.worst_error:.2%} | {agreed.within_5:.0%} | {agreed.slope:.3f} | {agreed.intercept_ms:+.3f} ms |"
    )


def _write_json(path: Path, record: Record) -> None:
    path.write_text(json.dumps(record.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")


AGAIN = "Validate it once more with `nas-client validate`, and name the folder that it writes."


def read_validation(folder: Path, table: LookupTable) -> Validation:
    """What a validation's folder says of a table and its sums, be it the one validated or one of several compared.

    Raises:
        TableMismatchError: the validation is of other tables.
        InvalidSpecError: the file is damaged, or of an earlier release that did not keep this.
        OSError: it cannot be opened.
    """
    path = folder / VALIDATION
    first = Validation.parse_json(path.read_bytes(), source=str(path))
    by_table = {first.table_id: first}
    compared = (folder / COMPARISON).with_suffix(".json")
    if compared.exists():
        by_table |= {
            one.table_id: one.validation for one in Comparison.parse_json(compared.read_bytes(), source=str(compared)).tables
        }
    table_id = table.info.id()
    if table_id in by_table and by_table[table_id].sums is not None:
        return by_table[table_id]
    if first.table_id is None or table_id in by_table:
        raise InvalidSpecError(f"{path} is of an earlier release, which did not keep how sums are biased", hint=AGAIN)
    raise TableMismatchError(f"{path} is of table {', '.join(map(str, by_table))}, not of {table.label()}", hint=AGAIN)


def published_validation(source: str, settings: ClientSettings) -> Validation | None:
    """What the card of a published table says; None where the table is none, or its card has none.

    Args:
        source: of the table, as `load_table` takes it.
        settings: where published tables are.

    Raises:
        InvalidSpecError: the card is damaged.
        TableChoiceError: none is published under that name.
    """
    if "://" in source or not may_be_name(source):
        return None
    path = named_table(source, settings).with_suffix(CARD_SUFFIX)
    if not path.exists():
        return None
    card = TableCard.parse_json(path.read_bytes(), source=str(path))
    return None if card.validation is None else Validation.parse(card.validation, source=str(path))
