"""One process of a search; `torchrun` starts it. Arguments: a folder; `differing` for different tables, or `evolution`.

The second comes to the folder late, as one on a busy machine may: by then the first must not have begun in it.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import torch

from models.spec.tables import Table
from nas_client.runs.processes import Processes
from nas_client.search.cosearch import CoSearch, search
from nas_client.table import LookupTable
from tests.support.searches import small, small_table
from tests.support.selections import brief

folder, differing = Path(sys.argv[1]), sys.argv[2] == "differing"
torch.set_num_threads(1)
table = small_table()
second = os.environ["RANK"] == "1"
if differing and second:
    entries = table.table.entries
    table = LookupTable(Table(info=table.info, entries=(entries[0].model_copy(update={"value_ms": 9.0}), *entries[1:])))


def prepare_late(run: CoSearch, *, resume: bool, pretrained: Path | None) -> None:
    time.sleep(2)
    prepare(run, resume=resume, pretrained=pretrained)


prepare = CoSearch.prepare
if second:
    CoSearch.prepare = prepare_late  # type: ignore[method-assign]
with Processes() as processes:
    assert processes.several
    search(brief() if sys.argv[2] == "evolution" else small(), table, folder, processes=processes)
