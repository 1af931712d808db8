"""Fixtures of the report's tests."""

from __future__ import annotations

from tests.support.client_command import command_fixture

__all__ = ["command_fixture"]
