"""Fixtures of the experiments' tests."""

from __future__ import annotations

from tests.support.client_command import command_fixture
from tests.support.one_thread import one_thread_fixture

__all__ = ["command_fixture", "one_thread_fixture"]
