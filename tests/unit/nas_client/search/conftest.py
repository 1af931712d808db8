from __future__ import annotations

from tests.support.one_thread import one_thread_fixture

__all__ = ["one_thread_fixture"]
