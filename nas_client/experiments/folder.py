"""The folder of an experiment: whose runs lie in it, so that it is never continued as another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from models.spec.base import Record, differences
from models.spec.table_files import TableFormat, read_table, table_etag, write_table
from nas_client.errors import ExperimentError
from nas_client.runs.config import read_config, write_config
from nas_client.table import LookupTable

CONFIG, TABLE = "experiment.yaml", "table.arrow"
"""The configuration of all runs, and the table, in the experiment's folder."""


def begin(folder: Path, table: LookupTable, config: Record, *, resume: bool) -> None:
    """Write table and configuration; or make sure that the experiment that is in the folder has the same.

    Raises:
        ExperimentError: one is there and `resume` is not set, or it is another one: says in what.
        OSError: the folder cannot be written.
    """
    settled, kept = folder / CONFIG, folder / TABLE
    if not settled.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_table(table.table, kept, TableFormat.ARROW)
        write_config(config, settled)
        return
    if not resume:
        raise ExperimentError(f"{folder} holds an experiment already", hint="Go on with --resume, or name another folder.")
    if lines := differences(config, read_config(type(config), settled)):
        raise ExperimentError(
            f"{folder} holds an experiment of another configuration: {'; '.join(lines)}",
            hint="Resume it with the same preset, table and --set, or name another folder.",
        )
    before = LookupTable(read_table(kept))
    if table_etag(before.table) != table_etag(table.table):
        raise ExperimentError(
            f"{folder} holds an experiment with other contents of a table: {before.label()}",
            hint="Resume it with the same table, or name another folder.",
        )


def flat(fields: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Nested fields as overrides of a configuration: `search.epochs=10`."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}={json.dumps(value)}"
