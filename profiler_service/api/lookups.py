"""The answer to a look-up, made of records as they are stored: a record that was valid when it was stored is not read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import from_json, to_json

from models.spec.measurements import Measurement, Workload
from models.spec.operators import OperatorSpec
from profiler_service.storage.schema import load

_ABSENT: dict[str, Any] = {
    name: None if field.is_required() else field.default for name, field in Measurement.model_fields.items()
}
"""Every field in its order, with what it is where a stored record leaves it out."""


def answer(table_id: str, wanted: Sequence[Workload], texts: Mapping[str, str]) -> bytes:
    """What `LookupResponse` says as JSON.

    Args:
        table_id: of the table.
        wanted: workloads, in order.
        texts: key to record (`record_text`), of those that the table has.

    Raises:
        StorageError: a record cannot be read.
    """
    results = [None if (text := texts.get(workload.key())) is None else _whole(table_id, workload, text) for workload in wanted]
    return to_json({"table_id": table_id, "results": results})


def _whole(table_id: str, workload: Workload, text: str) -> dict[str, Any]:
    """A record with every field. One that is not quite what this release writes is read as a measurement."""
    try:
        found: dict[str, Any] = from_json(text, cache_strings="all")
        if isinstance(workload, OperatorSpec) and _is_present(found, workload):
            return _ABSENT | found
    except (ValueError, TypeError, AttributeError, KeyError):  # whatever it is: the record says what is wrong with it
        pass
    return load(Measurement, text, f"table {table_id}, key {workload.key()}").model_dump(mode="json")


def _is_present(found: dict[str, Any], operator: OperatorSpec) -> bool:
    stored = found["workload"]
    return (
        found.keys() <= _ABSENT.keys()
        and stored.keys() == OperatorSpec.model_fields.keys()
        and stored["attributes"].keys() == operator.attributes.keys()
    )
