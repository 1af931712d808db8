"""Names of columns, as people write them, and what they mean."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from models.spec.kinds import kind_info, kind_names
from profiler_service.foreign.sources import SourceFile

SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "key": ("key",),
    "label": ("label", "name"),
    "kind": ("kind", "operator", "op", "op_type", "type"),
    "in_channels": ("in_channels", "input_channels", "channels_in", "in_ch", "cin", "c_in"),
    "out_channels": ("out_channels", "output_channels", "channels_out", "out_ch", "cout", "c_out"),
    "size": ("size", "input_size", "resolution", "hxw", "h_x_w"),
    "height": ("height", "input_height", "h"),
    "width": ("width", "input_width", "w"),
    "stride": ("stride", "strides"),
    "batch": ("batch", "batch_size"),
    "dtype": ("dtype", "precision"),
    "ms": (
        *("ms", "milliseconds", "latency_ms", "time_ms", "runtime_ms", "duration_ms"),
        *("value_ms", "mean_ms", "median_ms", "average_ms"),
    ),
}
"""Fields of a row, and the names that a column of that field may have, after `normalised`."""

ATTRIBUTE_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "kernel": ("kernel_size", "k"),
    "groups": ("group",),
    "dilation": ("dilations",),
}
"""Further names of columns of attributes; their own names always do."""

LATENCY_WORDS = frozenset(
    {"latency", "time", "runtime", "duration", "value", "mean", "median", "average", "us", "µs", "ns", "s", "seconds"}
)
"""First words of columns that may hold latencies, but do not say that they are milliseconds."""

_UNIT = re.compile(r"[\[(]\s*([^\W\d]+)\s*[\])]")


def attribute_names() -> list[str]:
    """Names of all attributes of all kinds, sorted."""
    return sorted({name for kind in kind_names() for name in kind_info(kind).attributes})


def normalised(header: str) -> str:
    """The name in lower case with underscores, its unit last: `Latency [ms]` is `latency_ms`."""
    text = _UNIT.sub(r" \1", header.casefold().replace("×", "x").replace("μ", "µ"))
    return re.sub(r"[\W_]+", "_", text).strip("_")


def columns_of(source: SourceFile, row: int, header: Sequence[str]) -> dict[str, int]:
    """Field or attribute to the index of its column. Columns of other names are left out.

    Raises:
        TableFileError: two columns have the same meaning; there is no column of milliseconds; or operators are not named.
    """
    meanings = {name: field for field, names in SPELLINGS.items() for name in names}
    for attribute in attribute_names():
        meanings |= dict.fromkeys((attribute, *ATTRIBUTE_SPELLINGS.get(attribute, ())), attribute)
    found: dict[str, int] = {}
    for index, title in enumerate(header):
        field = meanings.get(normalised(title))
        if field is None:
            continue
        if field in found:
            raise source.refuse(
                f"row {row}",
                f"columns {header[found[field]]!r} and {title!r} both mean {field}",
                "Remove or rename one of them.",
            )
        found[field] = index
    _require_columns(source, row, header, found)
    return found


def _require_columns(source: SourceFile, row: int, header: Sequence[str], found: Mapping[str, int]) -> None:
    if "ms" not in found:
        unclear = [title for title in header if normalised(title).split("_")[0] in LATENCY_WORDS]
        if unclear:
            problem = f"column {unclear[0]!r} does not say that it holds milliseconds"
            hint = "Convert it to milliseconds if it holds another unit, and name it latency_ms."
        else:
            problem = f"no column holds milliseconds; the columns are {_listed(header)}"
            hint = "Name the column ms or latency_ms. The first row must hold the names of columns."
        raise source.refuse(f"row {row}", problem, hint)
    if "size" in found and ("height" in found or "width" in found):
        raise source.refuse(f"row {row}", "it has both a size and a height or width", "Keep height and width, or the size.")
    if "label" in found or "key" in found:
        return
    needed = ["kind", "in_channels", "out_channels", *(["size"] if "size" in found else ["height", "width"])]
    lacking = [name for name in needed if name not in found]
    if lacking:
        raise source.refuse(
            f"row {row}",
            f"no column holds {', '.join(lacking)}; the columns are {_listed(header)}",
            "An operator is named by a label, by a key, or by kind, in_channels, out_channels and size (or height and width).",
        )


def _listed(header: Sequence[str]) -> str:
    shown = ", ".join(repr(title) for title in header[:12])
    return shown + (f" and {len(header) - 12} more" if len(header) > 12 else "")
