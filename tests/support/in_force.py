"""The settings of the environment, for tests on real backends and devices alone: `options_in_force` of conftest.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from profiler_service.backends.backend_options import AllOptions, DeviceKind
from profiler_service.settings import Settings

OptionsInForce = Callable[[DeviceKind], AllOptions]


def options_of(environment: Mapping[str, str], device: DeviceKind) -> AllOptions:
    """Options for that kind of device under these settings; nothing is kept in files, nor replayed from them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        chosen = Settings.load(device=device, replay_builds=False).options
    return chosen.model_copy(update={"cache_dir": None})
