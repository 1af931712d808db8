"""Publishing a measured table: what is left out, what is refused, and the card."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import structlog
from pydantic import JsonValue

from models.atomic_file import replacing
from models.spaces.registry import create_space, default_spec
from models.spec.base import canonical_json
from models.spec.errors import InvalidSpecError
from models.spec.table_cards import CARD_SUFFIX, TABLE_SUFFIX, TableCard, TableQuality, table_name
from models.spec.table_files import TableFormat, table_etag, write_table
from models.spec.tables import Table
from models.spec.verdicts import TrustLevel, table_verdict

log = structlog.get_logger(__name__)

VALIDATION, CALIBRATION, COMPARISON = "validation.json", "calibration.json", "comparison.json"
"""Files of a validation report (docs/validate.md): the numbers; the id of the table they are about; and, where the same
networks were held against several tables, the numbers of each.
"""

_PRIVATE = frozenset({"host", "system"})
"""Provenance that is not published: the host and the build of its kernel."""


def without_host(table: Table) -> Table:
    """The same table without provenance of the host."""
    provenance = {name: value for name, value in table.info.provenance.items() if name not in _PRIVATE}
    return table.model_copy(update={"info": table.info.model_copy(update={"provenance": provenance})})


def publishable(table: Table) -> Table:
    """The table for publishing: only operators of its space's grid, without provenance of the host.

    Raises:
        InvalidSpecError: no operator of the grid has a value; the table was imported; or the space has other parameters than
            the defaults, which the table's name does not contain.
    """
    info = table.info
    if info.target.options.get("origin") == "imported":
        raise InvalidSpecError(
            f"table {info.id()} was imported; only tables that were measured here are published", hint="Choose another table."
        )
    if lines := info.space.differences(default_spec(info.space).model_copy(update={"dtype": info.space.dtype})):
        raise InvalidSpecError(
            f"table {info.id()} has space parameters other than the defaults, which no name contains: {'; '.join(lines)}",
            hint="Publish a table of the default space ('there'), or export this one to a file: profiler-service export.",
        )
    keys = {operator.key() for operator in create_space(info.space).operators()}
    published_part = without_host(Table(info=info, entries=tuple(entry for entry in table.entries if entry.key() in keys)))
    if not published_part.values_ms():
        raise InvalidSpecError(
            f"table {info.id()} has no value for any operator of {info.space.label()}",
            hint="Measure some with `profiler-service profile`.",
        )
    return published_part


def card_of(table: Table, validation: dict[str, JsonValue] | None = None) -> TableCard:
    """The card of a publishable table."""
    info, values = table.info, table.values_ms()
    return TableCard(
        name=table_name(info),
        label=f"{info.space.label()}, {info.protocol.value}, on {info.target.label()}",
        device_kind="gpu" if info.target.compute_capability else "cpu",
        table_id=info.id(),
        etag=table_etag(table),
        info=info,
        entries=len(table.entries),
        failed=len(table.entries) - len(values),
        missing=len(create_space(info.space).operators()) - len(table.entries),
        quality=quality_of(table),
        validation=validation,
        verdict=table_verdict(table),
    )


def incomplete(card: TableCard) -> str:
    """What the table lacks, in words; empty if it is complete."""
    failed = f"operators without a value: {card.failed}" if card.failed else ""
    missing = f"operators of the space that are missing: {card.missing}" if card.missing else ""
    return "; ".join(filter(None, (failed, missing)))


def require_complete(card: TableCard) -> None:
    """Raises InvalidSpecError for a table that lacks values: no loss can be made from it."""
    if lacks := incomplete(card):
        raise InvalidSpecError(
            f"table {card.table_id} is not complete: {lacks}",
            hint="Measure the rest with `profiler-service profile`, or publish it as it is with --allow-missing.",
        )


def require_trustworthy(card: TableCard) -> None:
    """Raises InvalidSpecError for a table that others should not rely on: the name would promise more than it holds."""
    if card.verdict is not None and card.verdict.level is not TrustLevel.TRUSTWORTHY:
        reasons = "; ".join(reason.text for reason in card.verdict.reasons)
        raise InvalidSpecError(
            f"the verdict on table {card.table_id} is {card.verdict.level.value}: {reasons}",
            hint="Measure it again on a quiet machine, or publish it as it is with --force; the card states the verdict.",
        )


def read_validation(report: Path, table_id: str) -> dict[str, JsonValue]:
    """The results of a validation report for a table.

    Raises:
        InvalidSpecError: the folder holds no such report, or one about other tables.
        OSError: it cannot be read.
    """
    found = validations(report)
    if table_id not in found:
        raise InvalidSpecError(
            f"{report} is about table {', '.join(found)}, not {table_id}",
            hint=f"Validate with `nas-client validate --url URL --space SPACE --table {table_id} -o DIR`.",
        )
    return found[table_id]


def validations(report: Path) -> dict[str, dict[str, JsonValue]]:
    """Table id to its results in a validation report.

    Raises:
        InvalidSpecError: the folder holds no such report.
        OSError: it cannot be read.
    """
    found = {str(_read_object(report / CALIBRATION).get("table_id")): _read_object(report / VALIDATION)}
    return found | (_compared(report / COMPARISON) if (report / COMPARISON).exists() else {})


def _compared(path: Path) -> dict[str, dict[str, JsonValue]]:
    """Table id to numbers."""
    rows: Any = _read_object(path).get("tables")
    try:
        return {row["table_id"]: row["validation"] for row in rows}
    except (KeyError, TypeError) as error:
        raise InvalidSpecError(f"{path} is not a comparison of tables", hint="Run `nas-client validate` again.") from error


def publish(table: Table, card: TableCard, folder: Path, *, replace: bool = False) -> tuple[TableCard, tuple[Path, Path]]:
    """Write table and card below the folder; returns the card as it was written, and both paths.

    A validation that is published there already stays with the same contents. Where a file cannot be written, no earlier card
    is lost.

    Raises:
        InvalidSpecError: another table has that name, or more of this one, or its validation, or its card cannot be read; and
            is not to be replaced.
        TableFileError, OSError: a file cannot be written.
    """
    path = folder / f"{card.name}{TABLE_SUFFIX}"
    beside = folder / f"{card.name}{CARD_SUFFIX}"
    if (there := _published(beside, replace=replace)) is not None:
        if there.etag == card.etag and card.validation is None:
            card = card.model_copy(update={"validation": there.validation})
        if not replace:
            _require_no_loss(there, card)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(json.loads(canonical_json(card.model_dump(mode="json"))), indent=2, ensure_ascii=False)
    with replacing(beside) as part:  # written before the table is replaced, so that a full disk changes neither
        part.write_text(text + "\n", encoding="utf-8")
        write_table(table, path, TableFormat.PARQUET)
    return card, (path, beside)


def _published(path: Path, *, replace: bool) -> TableCard | None:
    """The card that is there; None where there is none, or one that cannot be read and is to be replaced."""
    if not path.exists():
        return None
    try:
        return TableCard.parse_json(path.read_bytes(), source=str(path))
    except InvalidSpecError as error:
        if not replace:
            hint = "Put it back from a copy; or replace it with --replace, which loses a validation in it."
            raise InvalidSpecError(error.message, hint=hint) from error
        log.warning("the published card cannot be read and is replaced, with any validation in it", reason=error.message)
        return None


def _require_no_loss(there: TableCard, card: TableCard) -> None:
    """Raises InvalidSpecError if publishing would lose values or a validation under the same name."""
    hint = "--replace replaces it with this one."
    if lines := there.info.target.differences(card.info.target):
        raise InvalidSpecError(f"{card.name} is published already, for another target: {'; '.join(lines)}", hint=hint)
    values, published = (one.entries - one.failed for one in (card, there))
    if values < published:
        raise InvalidSpecError(f"{card.name} is published already, with {published} values; this one has {values}", hint=hint)
    if there.validation is not None and card.validation is None:
        raise InvalidSpecError(
            f"{card.name} is published already, with a validation; this one has other values and no validation",
            hint="Name its report with --validation, or publish it without by --replace.",
        )


def _read_object(path: Path) -> dict[str, JsonValue]:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InvalidSpecError(f"{path} does not exist", hint="Name the folder that `nas-client validate -o` wrote.") from error
    except ValueError as error:
        raise InvalidSpecError(f"{path}: not a JSON document: {error}", hint="Check that the file is complete.") from error
    if not isinstance(document, dict):
        raise InvalidSpecError(f"{path}: not a JSON object", hint="Name the folder that `nas-client validate -o` wrote.")
    return document


def quality_of(table: Table) -> TableQuality:
    """The uncertainty of a table's values."""
    entries = [entry for entry in table.entries if entry.value_ms]
    return TableQuality(
        relative_stderr=_median([e.stderr_ms / e.value_ms for e in entries if e.stderr_ms is not None and e.value_ms]),
        between_round_spread=_median([e.between_round_spread for e in entries if e.between_round_spread is not None]),
        cv=_median([e.cv for e in entries if e.cv is not None]),
        flags=dict(sorted(Counter(flag for entry in entries for flag in entry.flags).items())),
    )


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None
