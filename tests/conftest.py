"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("opclock", deadline=None)  # a shared machine is slow now and then; that is no failure
settings.load_profile("opclock")
