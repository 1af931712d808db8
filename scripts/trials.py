"""Commands of the experiments on measuring: one table from one fresh process, each in a database of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from models.spec.measurements import Measurement
from models.spec.table_files import read_table
from models.spec.tables import Table

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Trial:
    """What every table of an experiment has in common.

    Attributes:
        folder: of the databases and tables.
        space, input_size, sample, seed, budget: as of `profiler-service profile`.
        backend: that measures.
    """

    folder: Path
    space: str = "fasterseg"
    input_size: str = "128x256"
    sample: int = 40
    seed: int = 0
    budget: str = "quick"
    backend: str = "onnxruntime"

    def table(self, name: str, *, protocol: str = "in_context", known: Path | None = None, sample: int | None = None) -> Table:
        """A table measured by one fresh process; read from its file where an earlier call made it.

        Args:
            name: of its files.
            protocol: that it is measured by.
            known: a database whose scale is taken over.
            sample: another number of operators, drawn by another seed.
        """
        file, database = self.folder / f"{name}.json", self.database(name)
        if not file.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in self.folder.glob(f"{name}.sqlite*"):
                path.unlink() if path.is_file() else shutil.rmtree(path)
            if known is not None:
                shutil.copy(known, database)
            seed = self.seed if sample is None else self.seed + 1
            options = ["--space", self.space, "--input-size", self.input_size, "--budget", self.budget, "--seed", str(seed)]
            options += ["--protocol", protocol, "--backend", self.backend, "--sample", str(sample or self.sample)]
            document = self._run("profile", *options, "--json", "--database", str(database))
            table_id = document["table_id"]
            self._run("export", "--table", table_id, "--format", "json", "-o", str(file), "--database", str(database), "--json")
        return read_table(file)

    def database(self, name: str) -> Path:
        """Where that table's visits are."""
        return self.folder / f"{name}.sqlite"

    def _run(self, *arguments: str) -> dict[str, str]:
        done = subprocess.run([BIN / "profiler-service", *arguments], capture_output=True, text=True, check=False)
        if done.returncode not in (0, 4):
            sys.exit(f"profiler-service {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}")
        found: dict[str, str] = json.loads(done.stdout)
        return found


def sampled(table: Table, keys: set[str] | None = None) -> dict[str, Measurement]:
    """Entries with a value that can be told from zero, by key."""
    return {
        entry.key(): entry
        for entry in table.entries
        if entry.value_ms and "below_resolution" not in entry.flags and (keys is None or entry.key() in keys)
    }
