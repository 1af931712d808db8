"""Backends by name, and runtimes that are not there."""

from __future__ import annotations

import sys

import pytest

from models.spec.errors import InvalidSpecError, UnknownNameError
from profiler_service.backends import registry
from profiler_service.backends.base import Backend
from profiler_service.backends.options import BackendOptions
from profiler_service.errors import BackendUnavailableError


def test_offers_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match="unknown backend 'onnxruntme'") as caught:
        registry.create_backend("onnxruntme")
    assert caught.value.hint == "Did you mean 'onnxruntime'?"


@pytest.mark.parametrize(
    ("name", "runtime", "extra"), [("onnxruntime", "onnxruntime", "onnxruntime"), ("torch", "torch", "graphs")]
)
def test_names_the_extra_of_a_runtime_that_is_not_installed(
    name: str, runtime: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, f"profiler_service.backends.{runtime}_cpu", raising=False)
    monkeypatch.setitem(sys.modules, runtime, None)
    with pytest.raises(BackendUnavailableError, match=f"backend '{name}' cannot be loaded") as caught:
        registry.create_backend(name)
    assert caught.value.hint == f"pip install 'opclock[{extra}]'"


def test_an_import_error_of_our_own_is_not_taken_for_a_missing_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "profiler_service.backends.onnxruntime_cpu", raising=False)
    monkeypatch.setitem(sys.modules, "profiler_service.backends.cpu", None)
    with pytest.raises(ImportError):
        registry.create_backend("onnxruntime")


def test_a_known_name_is_not_taken_over() -> None:
    impostor = type("Impostor", (Backend,), {"name": "onnxruntime"})
    with pytest.raises(InvalidSpecError, match="'onnxruntime' is registered already"):
        registry.register_backend(impostor)


@pytest.mark.parametrize("field", ["threads", "device_index"])
def test_options_are_bounded(field: str) -> None:
    with pytest.raises(InvalidSpecError, match=field):
        BackendOptions.parse({field: -1})
