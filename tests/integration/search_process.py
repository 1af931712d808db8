"""One process of a search; `torchrun` starts it. Arguments: a folder; `differing` for different tables."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from models.spec.tables import Table
from nas_client.runs.processes import Processes
from nas_client.search.cosearch import search
from nas_client.table import LookupTable
from tests.searches import small, small_table

folder, differing = Path(sys.argv[1]), sys.argv[2] == "differing"
torch.set_num_threads(1)
table = small_table()
if differing and os.environ["RANK"] == "1":
    entries = table.table.entries
    table = LookupTable(Table(info=table.info, entries=(entries[0].model_copy(update={"value_ms": 9.0}), *entries[1:])))
with Processes() as processes:
    assert processes.several
    search(small(), table, folder, processes=processes)
