"""The rules of `OperatorSpec` and `Measurement` for whole columns: which rows certainly keep them.

A row that is not certain is no wrong row. It is unusual (an architecture, an operator of several sources or near the limits, an
attribute left to its default), and the caller parses it as a record, which knows. So every rule here may be stricter than the
record's, never laxer; tests/property/test_table_columns.py compares the two.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.spec import limits
from models.spec.base import canonical_json
from models.spec.bounds import Sizes
from models.spec.kinds import kind_info
from models.spec.measurements import Flag, Status
from models.spec.operators import DTYPE_BYTES, OperatorSpec
from models.spec.table_files.codec import COLUMNS, ColumnType, optional

if TYPE_CHECKING:
    import numpy as np

    Mask = np.ndarray[Any, np.dtype[np.bool_]]
    Integers = np.ndarray[Any, np.dtype[np.int64]]

ArrowTable = Any
"""A `pyarrow.Table`, which has no types to check against."""

_CLOSE = 0.99
"""A size above this share of its limit is left to the record, which computes it in integers."""

FIRST_TIME, LAST_TIME = -62_135_596_800_000_000, 253_402_300_799_999_999
"""Years 1 to 9999, in microseconds since 1970: what `datetime` holds."""


@dataclass(frozen=True)
class Certain:
    """The rows that keep every rule.

    Attributes:
        rows: whether each row does. Shape: (rows,).
        keys, labels: of their operators, in the order of the rows; empty text for other rows.
    """

    rows: Mask
    keys: list[str]
    labels: list[str]


def certain_rows(columns: ArrowTable) -> Certain:
    """The rows of a table that keep every rule but that of the key, which the caller compares.

    Args:
        columns: some or all of `COLUMNS`, of their own types, each in one chunk.
    """
    np = optional("numpy")
    count = columns.num_rows
    keys, labels = [""] * count, [""] * count
    if set(columns.column_names) != {column.name for column in COLUMNS}:
        return Certain(np.zeros(count, bool), keys, labels)  # an older file: absent columns take defaults
    certain = _measurements(columns)
    for rows, sample in _kinds(columns, certain):
        shapes = np.stack([_integers(columns, name)[rows] for name in ("in_channels", "out_channels", "height", "width")])
        fitting = _operators(sample, *shapes)
        certain[rows[~fitting]] = False
        rows, shapes = rows[fitting], shapes[:, fitting]
        for row, (key, label) in zip(rows.tolist(), sample.identities(zip(*shapes.tolist(), strict=True)), strict=True):
            keys[row], labels[row] = key, label
    return Certain(certain, keys, labels)


def _measurements(columns: ArrowTable) -> Mask:
    """Rows that keep the rules of `Measurement`, and have an operator with all its fields within bounds."""
    np, pc = optional("numpy"), optional("pyarrow.compute")
    good: Mask = np.ones(columns.num_rows, bool)
    nullable = {column.name for column in COLUMNS if column.nullable} - set(OperatorSpec.model_fields)
    for column in COLUMNS:
        values = columns[column.name]
        absent = _mask(values.is_null())
        if column.name not in nullable:
            good &= ~absent
        match column.type:
            case ColumnType.FLOAT:
                numbers = _floats(columns, column.name)
                good &= absent | np.isfinite(numbers)
                if column.name in ("value_ms", "stderr_ms"):
                    good &= absent | (numbers >= 0)
            case ColumnType.INTEGER:
                low, high = _BOUNDS.get(column.name, (0, limits.MAX_COUNT))
                whole = _integers(columns, column.name)
                good &= absent | ((whole >= low) & (whole <= high))
            case ColumnType.TIME:
                micros = values.cast(optional("pyarrow").int64()).fill_null(0).to_numpy()
                good &= absent | ((micros >= FIRST_TIME) & (micros <= LAST_TIME))
            case ColumnType.TEXT | ColumnType.JSON:
                pass
    good &= _mask(columns["architecture"].is_null())
    succeeded = _mask(pc.equal(columns["status"], Status.OK.value))
    good &= succeeded != _mask(columns["value_ms"].is_null())
    storable = {
        name: _mask(pc.less_equal(pc.utf8_length(columns[name]), limits.MAX_MESSAGE))
        & ~_mask(pc.match_substring(columns[name], "\0"))
        for name in ("message", "throttle_reasons")
    }
    good &= storable["message"] & (succeeded | _mask(pc.greater(pc.utf8_length(columns["message"]), 0)))
    some_reasons = storable["throttle_reasons"] & _mask(pc.greater(pc.utf8_length(columns["throttle_reasons"]), 0))
    good &= _mask(columns["throttle_reasons"].is_null()) | some_reasons
    good &= _of(columns["status"], lambda text: text in set(Status))
    good &= _of(columns["flags"], _are_flags)
    return good


_BOUNDS = {
    "in_channels": (1, limits.MAX_CHANNELS),
    "out_channels": (1, limits.MAX_CHANNELS),
    "height": (1, limits.MAX_SIDE),
    "width": (1, limits.MAX_SIDE),
    "stride": (1, 8),
    "batch": (1, limits.MAX_BATCH),
}


def _are_flags(text: str) -> bool:
    try:
        names = json.loads(text)
    except ValueError:
        return False
    known = set(Flag)
    return (
        isinstance(names, list) and all(isinstance(name, str) and name in known for name in names) and _canonical(text, names)
    )


def _canonical(text: str, value: object) -> bool:
    """Whether the text is the one that is written; any other is rewritten by way of the record."""
    return text == canonical_json(value)


def _kinds(columns: ArrowTable, among: Mask) -> list[tuple[Integers, OperatorSpec]]:
    """Those rows by all that an operator has beside its channels and size, each with one operator of that kind.

    Rows whose kind, stride, batch, dtype or attributes no record accepts as they are written are removed from `among`.
    """
    np = optional("numpy")
    fixed = ("kind", "stride", "batch", "dtype", "attributes")
    encoded = [columns[name].combine_chunks().dictionary_encode() for name in fixed]
    code = np.zeros(columns.num_rows, np.int64)
    for array in encoded:
        indices = array.indices.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        _, code = np.unique(code * (len(array.dictionary) + 1) + indices, return_inverse=True)  # dense again: no overflow
    found = []
    order = np.argsort(code, kind="stable")
    order = order[among[order]]
    starts = np.flatnonzero(np.diff(code[order], prepend=-1))
    for rows in np.split(order, starts[1:]) if len(order) else []:
        fields = {name: columns[name][int(rows[0])].as_py() for name in fixed}
        sample = _sample(fields)
        if sample is None:
            among[rows] = False
        else:
            found.append((rows, sample))
    return found


def _sample(fields: dict[str, Any]) -> OperatorSpec | None:
    """A small operator with those fields, exactly as they are written; None where there is none."""
    try:
        attributes = json.loads(fields["attributes"])
        groups = attributes.get("groups", 1) if isinstance(attributes, dict) else 1
        channels = groups if type(groups) is int and groups >= 1 else 1
        shape = {"in_channels": channels, "out_channels": channels, "height": 1, "width": 1}
        sample = OperatorSpec.model_validate({**fields, **shape, "attributes": attributes})
    except ValueError:  # of JSON, of pydantic, and ours
        return None
    return sample if _canonical(fields["attributes"], sample.attributes) else None


def _operators(sample: OperatorSpec, in_channels: Integers, out_channels: Integers, height: Integers, width: Integers) -> Mask:
    """Whether operators like the sample, of those channels and sizes, certainly keep the rules of `OperatorSpec`."""
    np = optional("numpy")
    info = kind_info(sample.kind)
    groups, scale = int(sample.attributes.get("groups", 1)), int(sample.attributes.get("scale", 1))
    good: Mask = (in_channels % groups == 0) & (out_channels % groups == 0)
    good &= info.sources == "one"
    if info.keeps_channels:
        good &= in_channels == out_channels
    if info.narrows:
        good &= out_channels <= in_channels
    pixels_in = height.astype(np.float64) * width
    pixels_out = np.ceil(height * scale / sample.stride) * np.ceil(width * scale / sample.stride)
    if "to_height" in sample.attributes:
        _, _, rows, columns = sample.output_shape
        pixels_out = np.full(len(height), float(rows * columns))
    sizes = Sizes(
        in_channels=in_channels.astype(np.float64),
        out_channels=out_channels.astype(np.float64),
        widest=np.maximum(in_channels, out_channels).astype(np.float64),
        in_pixels=pixels_in,
        out_pixels=pixels_out,
        batch=sample.batch,
        attributes=sample.attributes,
        keeps_width_inside=info.keeps_width_inside,
        has_weights=info.has_weights,
    )
    try:
        bounds = info.bounds(sizes)
    except (TypeError, ValueError):  # it uses more than arithmetic: for one operator at a time
        good[:] = False
        return good
    maps = sample.batch * (sizes.in_channels * pixels_in + sizes.out_channels * pixels_out) + bounds.inner
    nbytes = (maps + bounds.weights) * DTYPE_BYTES[sample.dtype]
    small: Mask = (nbytes < _CLOSE * limits.MAX_WORKLOAD_BYTES) & (bounds.macs < _CLOSE * limits.MAX_WORKLOAD_MACS)
    return good & small


def _mask(values: Any) -> Mask:
    """An Arrow column of truth values; absent ones are false."""
    mask: Mask = values.fill_null(False).to_numpy()
    return mask


def _integers(columns: ArrowTable, name: str) -> Integers:
    """The column; 0 where absent."""
    values: Integers = columns[name].fill_null(0).to_numpy()
    return values


def _floats(columns: ArrowTable, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The column; 0 where absent."""
    values: np.ndarray[Any, np.dtype[np.float64]] = columns[name].fill_null(0.0).to_numpy()
    return values


def _of(values: Any, rule: Any) -> Mask:
    """A rule for texts, asked once for each that occurs."""
    np = optional("numpy")
    encoded = values.combine_chunks().dictionary_encode()
    known = np.array([rule(text) for text in encoded.dictionary.to_pylist()] + [False], bool)
    mask: Mask = known[encoded.indices.fill_null(len(known) - 1).to_numpy(zero_copy_only=False)]
    return mask
