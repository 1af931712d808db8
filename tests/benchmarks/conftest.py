"""What benchmarks that compare two ways of computing have in common."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def quiet_process() -> Iterator[None]:
    """One thread, and no garbage collection: of two ways the one with many small objects would have it search pytest's heap."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    torch.set_num_threads(threads)
