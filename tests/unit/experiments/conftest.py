"""Fixtures of the experiments' tests."""

from __future__ import annotations

from tests.client_command import command_fixture

__all__ = ["command_fixture"]
