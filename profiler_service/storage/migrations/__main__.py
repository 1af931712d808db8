"""Drafts a migration from what `schema.py` has and the migrations lack, to be read and corrected by hand.

Usage: python -m profiler_service.storage.migrations 0002 "what it does"
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command

from profiler_service.storage.sqlite_database import sqlite_engine
from profiler_service.storage.upgrade import alembic_config, upgrade


def main(revision: str, message: str) -> None:
    """Write the draft into `versions/`."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder) / "scratch.db"
        upgrade(scratch)
        engine = sqlite_engine(scratch, {})
        with engine.connect() as connection:
            command.revision(alembic_config(connection), message, autogenerate=True, rev_id=revision)
        engine.dispose()


if __name__ == "__main__":
    main(*sys.argv[1:])
