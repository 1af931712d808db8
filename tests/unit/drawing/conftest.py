"""Fixtures of the drawings' tests."""

from __future__ import annotations

from tests.client_command import command_fixture

__all__ = ["command_fixture"]
