"""Settings: the environment, then what a command chose, and one clear sentence for a bad value."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.spec.errors import InvalidSpecError
from profiler_service.backends.backend_options import AllOptions, BackendOptions, TorchCudaOptions
from profiler_service.settings import Settings, unknown_settings


def test_a_chosen_value_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPCLOCK_PORT", "9000")
    monkeypatch.setenv("OPCLOCK_BACKEND", "torch")

    settings = Settings.load(port=9001, backend=None)

    assert (settings.port, settings.backend) == (9001, "torch")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("OPCLOCK_PORT", "70000", r"^OPCLOCK_PORT: Settings\.port: .*65535 \(got '70000'\)"),
        ("OPCLOCK_THREADS", "0", r"^OPCLOCK_THREADS: Settings\.threads: .*greater than or equal to 1"),
        ("OPCLOCK_BUILD_TIMEOUT_S", "nan", r"^OPCLOCK_BUILD_TIMEOUT_S: Settings\.build_timeout_s: .*finite"),
        ("OPCLOCK_LOG_FORMAT", "xml", r"^OPCLOCK_LOG_FORMAT: Settings\.log_format: .*'console' or 'json'"),
    ],
)
def test_a_bad_value_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSpecError, match=message):
        Settings.load()


def test_a_bad_value_that_was_chosen_is_not_looked_for_in_the_environment() -> None:
    with pytest.raises(InvalidSpecError, match=r"^Settings\.port: "):
        Settings.load(port=70000)


def test_every_setting_says_what_it_is_for() -> None:
    undescribed = [name for name, field in Settings.model_fields.items() if not field.description]
    assert undescribed == []


def test_graph_files_go_beside_the_database_unless_told_otherwise(tmp_path: Path) -> None:
    assert Settings.load(database=tmp_path / "a.sqlite").cache_path == tmp_path / "a.sqlite.cache"
    assert Settings.load(cache_dir=tmp_path / "graphs").cache_path == tmp_path / "graphs"


def test_a_backend_gets_every_option_from_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    switches = {name: not field.default for name, field in AllOptions.model_fields.items() if field.annotation is bool}
    others = {"device": "cuda", "threads": 2, "device_index": 1, "device_access": "pycuda", "cache_dir": tmp_path}
    chosen = AllOptions.parse(switches | others)
    usual = AllOptions()
    common = AllOptions.model_fields.keys() - {"backend_options"}  # those are one backend's own
    assert [name for name in common if getattr(chosen, name) == getattr(usual, name)] == []
    for name, value in chosen.model_dump(mode="json").items():
        monkeypatch.setenv(f"OPCLOCK_{name.upper()}", str(value))
    assert Settings.load().options == chosen


def test_the_usual_settings_are_the_usual_options(tmp_path: Path) -> None:
    assert Settings.load(cache_dir=tmp_path).options == AllOptions(cache_dir=tmp_path)
    assert Settings.load(cache_dir=tmp_path).chosen_options() == BackendOptions(cache_dir=tmp_path)


def test_a_backend_gets_its_own_options_alone() -> None:
    chosen = {"device": "cuda", "tf32": True, "cache_dir": Path("c")}
    assert Settings.load(backend="torch", **chosen).chosen_options() == TorchCudaOptions.parse(chosen)
    with pytest.raises(InvalidSpecError, match="'onnxruntime' has no tf32 on a CPU"):
        Settings.load(tf32=True).chosen_options()


def test_variables_that_are_no_settings_are_told_with_the_nearest() -> None:
    fields = [f"OPCLOCK_{name.upper()}" for name in Settings.model_fields]
    others = [
        "OPCLOCK_URL",
        "OPCLOCK_REFERENCE",
        "OPCLOCK_CLIENT_DEADLINE_S",
        "opclock_client_poll_s",
        "PATH",
        "MY_OPCLOCK_PORT",
    ]
    assert unknown_settings([*fields, *map(str.lower, fields), *others]) == {}
    told = unknown_settings(["OPCLOCK_THREDS", "opclock_device_idx", "OPCLOCK_XYZZY", "opclock_url"])
    assert told == {
        "OPCLOCK_THREDS": "Did you mean OPCLOCK_THREADS?",
        "OPCLOCK_XYZZY": "Unset it; docs/reference/settings.md has them all.",
        "opclock_device_idx": "Did you mean OPCLOCK_DEVICE_INDEX?",
        "opclock_url": "Did you mean OPCLOCK_URL?",
    }


def test_names_of_the_service_are_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPCLOCK_ALLOWED_HOSTS", "box, box.lab.example,")
    assert Settings.load().allowed_hosts == ("box", "box.lab.example")
    monkeypatch.setenv("OPCLOCK_ALLOWED_HOSTS", "http://box/")
    with pytest.raises(InvalidSpecError, match="OPCLOCK_ALLOWED_HOSTS"):
        Settings.load()
