"""One thread: tensors of tests are small, and threads that wait for each other on a busy machine take many times as long."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True, scope="package", name="one_thread")
def one_thread_fixture() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
