"""A process that saves measurements one by one, and prints each number once it is saved.

Usage: python -m tests.integration.store_writer DATABASE FIRST COUNT
"""

from __future__ import annotations

import sys
from pathlib import Path

from profiler_service.storage.store import Store
from tests.support import table_samples as samples

database, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()  # so that all of them start at once
with Store.open(database) as store:
    table_id = store.ensure_table(samples.info())
    for channels in range(first, first + count):
        store.save_measurement(table_id, samples.measurement(samples.operator(channels)))
        print(channels, flush=True)
