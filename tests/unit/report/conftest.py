"""Fixtures of the report's tests."""

from __future__ import annotations

from tests.client_command import command_fixture

__all__ = ["command_fixture"]
