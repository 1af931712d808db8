"""Validations that are known of a table: one that is named, or the one on the card of a published table."""

from __future__ import annotations

from pathlib import Path

from models.spec.errors import InvalidSpecError, TableMismatchError
from models.spec.table_cards import CARD_SUFFIX, TableCard
from nas_client.published_tables import may_be_name, named_table
from nas_client.settings import ClientSettings
from nas_client.table import LookupTable
from nas_client.validation.judge import Validation
from nas_client.validation.report import COMPARISON, VALIDATION, Comparison

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
    if first.table_id is None:
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
