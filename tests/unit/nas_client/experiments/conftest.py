"""Fixtures of the experiments' tests."""

from __future__ import annotations

from tests.support.client_command import command_fixture

__all__ = ["command_fixture"]
