"""Tables by name, from a folder of published ones: `nvidia-h200/inductor/SPACE-1024x2048-fp16` (lut_data/README.md)."""

from __future__ import annotations

import difflib
from pathlib import Path

from models.spec.table_cards import TABLE_SUFFIX
from nas_client.errors import TableChoiceError
from nas_client.settings import ClientSettings

LISTED = 5
"""Names that an error offers."""

_CHECKOUT = Path(__file__).resolve().parents[1] / "lut_data"
"""Where they are when the package runs from a checkout; installed by itself, it brings no tables."""


def may_be_name(source: str) -> bool:
    """Whether a table source can be meant as a name: `a/b/c`, where files have a suffix."""
    path = Path(source)
    return not path.is_absolute() and not path.exists() and path.suffix == "" and "\\" not in source


def named_table(name: str, settings: ClientSettings) -> Path:
    """The file of the published table of that name.

    Raises:
        TableChoiceError: there is no such table, and names the nearest; or no folder to look in, and says how to get one.
    """
    folder = settings.tables_dir or _CHECKOUT
    if not folder.is_dir():
        raise TableChoiceError(
            f"{name!r} is no file, and there are no published tables to look it up in: {folder} is no folder",
            hint="Set OPCLOCK_CLIENT_TABLES_DIR to the lut_data folder of a checkout of opclock.",
        )
    known = {
        path.relative_to(folder).as_posix().removesuffix(TABLE_SUFFIX): path for path in folder.glob(f"*/*/*{TABLE_SUFFIX}")
    }
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, sorted(known), n=LISTED, cutoff=0.4) or sorted(known)[:LISTED]
    raise TableChoiceError(
        f"{name!r} is neither a file nor a table in {folder}",
        hint=f"Near: {', '.join(near)}." if near else "None is published there yet; measure one, or name a file.",
    )
