"""How parts end, what is repeated, and what is refused; with parts that only pretend."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.spec.errors import InvalidSpecError
from models.spec.measurements import ProtocolName
from profiler_service.backends.backend_options import AllOptions, option_of
from profiler_service.backends.registry import backend_names, device_kinds
from profiler_service.gpu_check import bench as bench_module
from profiler_service.gpu_check import choices, driver
from profiler_service.gpu_check.__main__ import main
from profiler_service.gpu_check.bench import ROOT, Bench, OutOfTimeError, PartError, SkipPartError
from profiler_service.gpu_check.choices import ON_A_GPU, REHEARSAL, Choices, keep, resolve
from profiler_service.gpu_check.plan import Part, plan
from profiler_service.gpu_check.results import Outcome, PartResult, read_result
from profiler_service.settings import Settings
from tests.support.full_disk import full_disk

Run = Callable[[Bench], None]


def ended(tmp_path: Path, run: Run, **changes: Any) -> PartResult:
    part = replace(Part("pretended", "nothing", run), **changes)
    return driver.run_part(part, REHEARSAL, tmp_path, 60.0)


def raising(error: Exception) -> Run:
    def run(bench: Bench) -> None:
        bench.summary = {"so_far": 1}
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (SkipPartError("nothing to do"), Outcome.SKIPPED),
        (OutOfTimeError("late"), Outcome.UNFINISHED),
        (PartError("broken"), Outcome.FAILED),
    ],
)
def test_how_a_part_ends_is_kept_with_what_it_has(tmp_path: Path, error: Exception, outcome: Outcome) -> None:
    result = ended(tmp_path, raising(error))
    assert (result.outcome, result.reason, result.summary) == (outcome, str(error), {"so_far": 1})
    assert read_result(tmp_path / "pretended") == result
    assert result.provenance["opclock"]


def test_a_check_that_fails_fails_the_part_and_an_aim_that_is_missed_does_not(tmp_path: Path) -> None:
    missed = ended(tmp_path, lambda bench: bench.check("near", False, "3 %", aim=True))
    assert missed.outcome is Outcome.DONE
    failed = ended(tmp_path, lambda bench: bench.check("right", False, "it is wrong"))
    assert (failed.outcome, failed.reason) == (Outcome.FAILED, "right: it is wrong")


def test_a_mistake_in_one_part_is_its_failure_alone(tmp_path: Path) -> None:
    result = ended(tmp_path, raising(KeyError("macs")))
    assert result.outcome is Outcome.FAILED
    assert result.reason.startswith("KeyError: 'macs'")
    assert "in run" in (tmp_path / "pretended" / "traceback.txt").read_text()


def test_what_needs_a_gpu_is_skipped_on_a_cpu(tmp_path: Path) -> None:
    result = ended(tmp_path, raising(AssertionError("it must not run")), gpu=True)
    assert (result.outcome, result.reason) == (Outcome.SKIPPED, "this part needs a GPU")


def test_a_backend_that_is_not_here_skips_its_parts_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "_problem", lambda backend, device: f"{backend} is not installed for {device}")
    result = ended(tmp_path, raising(AssertionError("it must not run")), backend="inductor")
    assert (result.outcome, result.reason) == (Outcome.SKIPPED, "inductor is not installed for cpu")


def test_a_backend_that_refuses_the_settings_skips_its_parts_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPCLOCK_MAX_AUTOTUNE", "true")
    driver._problem.cache_clear()
    result = ended(tmp_path, raising(AssertionError("it must not run")), backend="onnxruntime")
    driver._problem.cache_clear()
    assert result.outcome is Outcome.SKIPPED
    assert result.reason.startswith("backend 'onnxruntime' has no max_autotune. Leave max_autotune off")


def test_a_result_tells_the_settings_that_were_in_force_and_nothing_of_the_box(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = ended(tmp_path, lambda bench: None).provenance
    for name, value in {
        **{"TF32": "1", "DEVICE_ACCESS": "pycuda", "REPLAY_BUILDS": "true", "THREADS": "1", "DEVICE": "cuda"},
        **{"HOST": "10.0.0.3", "CACHE_DIR": "/mnt/alice"},
    }.items():
        monkeypatch.setenv(f"OPCLOCK_{name}", value)
    told = ended(tmp_path, lambda bench: None).provenance
    settings = {"OPCLOCK_TF32": "true", "OPCLOCK_DEVICE_ACCESS": "pycuda", "OPCLOCK_REPLAY_BUILDS": "true"}
    assert told == usual | settings


def test_an_installed_package_has_no_commit_of_whatever_repository_is_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_module, "ROOT", ROOT / "docs")
    assert driver._git("rev-parse", "HEAD") == ""


def test_a_traceback_does_not_tell_where_the_box_keeps_things(tmp_path: Path) -> None:
    result = ended(tmp_path, raising(ValueError(f"{ROOT}/absent")))
    assert result.reason == "ValueError: ./absent; see traceback.txt"
    assert str(ROOT) not in (tmp_path / "pretended" / "traceback.txt").read_text()


Command = Callable[..., int]


def ended_with(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of the command."""
    monkeypatch.setattr(sys, "argv", ["gpu-check", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.fixture
def pretending(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Run], Command]:
    """The command, of one part that runs what is given, and one that must be named."""

    def setup(run: Run) -> Command:
        parts = [Part("one", "pretends", run), Part("named", "pretends", raising(PartError("ran")), only_if_named=True)]
        monkeypatch.setattr(driver, "plan", lambda *_args, **_kwargs: parts)

        def command(*arguments: str) -> int:
            return ended_with(monkeypatch, "--rehearse", "--output", str(tmp_path), *arguments)

        return command

    return setup


def test_what_is_done_is_not_repeated_unless_told(pretending: Callable[[Run], Command]) -> None:
    runs: list[str] = []
    command = pretending(lambda bench: runs.append(bench.folder.name))
    assert [command(), command(), command("--redo"), command("--part", "one")] == [0, 0, 0, 0]
    assert runs == ["one", "one"]


def test_what_failed_is_repeated(pretending: Callable[[Run], Command]) -> None:
    runs: list[int] = []

    def run(bench: Bench) -> None:
        runs.append(1)
        bench.check("third time lucky", len(runs) > 2, f"run {len(runs)}")

    command = pretending(run)
    assert [command(), command(), command(), command()] == [4, 4, 0, 0]
    assert len(runs) == 3


def test_all_parts_go_on_with_an_unfinished_one_while_it_comes_forward(pretending: Callable[[Run], Command]) -> None:
    runs: list[int] = []

    def run(bench: Bench) -> None:
        runs.append(1)
        bench.summary = {"share": min(len(runs), 4)}
        raise OutOfTimeError("late")

    assert pretending(run)() == driver.UNFINISHED
    assert len(runs) == 4 + driver.CALLS_IN_VAIN


def test_visits_within_one_command_are_coming_forward(
    pretending: Callable[[Run], Command], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that one command measures has no finished share to show for a long time."""
    runs: list[int] = []

    def run(bench: Bench) -> None:
        runs.append(1)
        bench.summary = {"shares_done": 0, "shares": 1}
        raise OutOfTimeError("late")

    monkeypatch.setattr(Bench, "count_visits", lambda _bench: 96 * min(len(runs), 6))
    assert pretending(run)() == driver.UNFINISHED
    assert len(runs) == 6 + driver.CALLS_IN_VAIN


def test_a_named_part_runs_once(pretending: Callable[[Run], Command]) -> None:
    runs: list[int] = []

    def run(bench: Bench) -> None:
        runs.append(1)
        raise OutOfTimeError("late")

    assert pretending(run)("--part", "one") == driver.UNFINISHED
    assert len(runs) == 1


def test_some_parts_run_only_when_named(pretending: Callable[[Run], Command]) -> None:
    command = pretending(lambda bench: None)
    assert command() == 0
    assert command("--part", "named") == 4


def test_an_interrupt_ends_the_command_and_says_how_to_go_on(
    pretending: Callable[[Run], Command], capsys: pytest.CaptureFixture[str]
) -> None:
    def run(bench: Bench) -> None:
        raise KeyboardInterrupt

    assert pretending(run)() == 130
    assert "run the same command again to go on" in capsys.readouterr().out


def test_listing_does_nothing(pretending: Callable[[Run], Command], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = pretending(raising(AssertionError("it must not run")))
    assert command("--list") == 0
    assert "one" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_part_offers_the_nearest(pretending: Callable[[Run], Command], capsys: pytest.CaptureFixture[str]) -> None:
    assert pretending(lambda bench: None)("--part", "onne") == 3
    assert "'one'" in capsys.readouterr().out


def test_of_many_parts_only_the_nearest_are_offered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended_with(monkeypatch, "--list", "--part", "clock") == 3
    told = capsys.readouterr().out
    assert "clocks-torch" in told
    assert "--list names all parts" in told
    assert told.count("-") < 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--backend", "tensorrt"), "backend 'tensorrt' does not run on cpu"),
        (("--input-size", "wide"), "input size 'wide'"),
        (("--space", "fastseg"), "unknown search space 'fastseg'"),
        (("--parameter", "layrs=3"), "Did you mean 'layers'?"),
        (("--parameter", "layers=many"), "parameter 'layers=many'"),
        (("--parameter", "layers=2", "--list"), "layers"),
        (("--shares", "0"), "--shares must be from 1 to 18 for fasterseg 64×64 float32, not 0"),
        (("--shares", "19"), "--shares must be from 1 to 18 for fasterseg 64×64 float32, not 19"),
        (("--sample", "0"), "--sample must be from 1 to 94"),
        (("--sample", "95"), "--sample must be from 1 to 94"),
        (("--architectures", "7"), "--architectures must be from 8 to 10000, not 7"),
        (("--at-once", "0"), "--at-once must be at least 1, not 0"),
    ],
)
def test_choices_that_cannot_be_are_refused(
    pretending: Callable[[Run], Command], capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert pretending(raising(AssertionError("it must not run")))(*arguments) == 3
    assert message in capsys.readouterr().out


def test_numbers_at_their_limits_are_taken(pretending: Callable[[Run], Command]) -> None:
    limits = ("--shares", "16", "--sample", "82", "--architectures", "8", "--at-once", "1")
    assert pretending(lambda bench: None)(*limits) == 0


def test_a_misspelt_variable_is_refused(
    pretending: Callable[[Run], Command], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPCLOCK_THREDS", "2")
    assert pretending(raising(AssertionError("it must not run")))() == 3
    assert "no setting is called OPCLOCK_THREDS\nDid you mean OPCLOCK_THREADS?" in capsys.readouterr().out


def test_a_folder_that_cannot_be_made_is_named(
    pretending: Callable[[Run], Command], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "output"
    assert pretending(lambda bench: None)("--output", str(folder)) == 3
    told = capsys.readouterr().out
    assert f"error: cannot use '{folder}': Not a directory" in told
    assert "name another --output" in told


def test_one_folder_holds_results_of_the_same_choices(tmp_path: Path) -> None:
    keep(REHEARSAL, tmp_path)
    keep(replace(REHEARSAL, dtypes=("float16",)), tmp_path)
    with pytest.raises(InvalidSpecError, match="input_size: 64x64 there, 128x256 now"):
        keep(replace(REHEARSAL, input_size="128x256"), tmp_path)


def test_one_folder_holds_results_of_the_same_settings(
    pretending: Callable[[Run], Command], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = pretending(lambda bench: None)
    assert command() == 0
    monkeypatch.setenv("OPCLOCK_BUILD_TIMEOUT_S", "600")
    monkeypatch.setenv("OPCLOCK_REPLAY_BUILDS", "true")
    assert command() == 0, "no number depends on these"
    monkeypatch.setenv("OPCLOCK_DEVICE_INDEX", "1")
    assert command() == 3
    assert "settings: [] there, ['OPCLOCK_DEVICE_INDEX=1'] now" in capsys.readouterr().out
    monkeypatch.delenv("OPCLOCK_DEVICE_INDEX")
    monkeypatch.setenv("OPCLOCK_THREADS", "1")
    assert command() == 0, "that is the usual one"
    monkeypatch.setenv("OPCLOCK_THREADS", "many")
    assert command() == 3
    assert "Settings.threads" in capsys.readouterr().out


def test_a_folder_from_before_settings_were_noted_goes_on(tmp_path: Path) -> None:
    keep(REHEARSAL, tmp_path)
    path = tmp_path / "choices.json"
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != "settings"}))
    with pytest.raises(InvalidSpecError, match="settings"):
        keep(replace(REHEARSAL, settings=("OPCLOCK_TF32=true",)), tmp_path)
    keep(REHEARSAL, tmp_path)


def test_a_full_disk_leaves_the_note_of_choices_whole(tmp_path: Path) -> None:
    keep(REHEARSAL, tmp_path)
    with full_disk("choices.json"), pytest.raises(OSError, match="No space left"):
        keep(REHEARSAL, tmp_path)
    keep(REHEARSAL, tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff"])
def test_a_damaged_note_of_choices_is_told_and_kept(
    tmp_path: Path, text: str, pretending: Callable[[Run], Command], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "choices.json"
    path.write_bytes(text.encode("latin-1"))
    assert pretending(raising(AssertionError("it must not run")))() == 3
    assert "choices.json does not hold" in " ".join(capsys.readouterr().out.split())
    assert path.read_bytes() == text.encode("latin-1")


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "inf", "soon"])
def test_a_limit_is_a_time(
    limit: str, pretending: Callable[[Run], Command], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert pretending(raising(AssertionError("it must not run")))("--limit", limit) == 2
    assert f"'--limit': must be a number of seconds above 0, not {limit!r}" in capsys.readouterr().err


def test_every_setting_counts_unless_it_cannot_change_a_number() -> None:
    """A new setting counts until somebody says that it does not."""
    free = choices._OF_THE_BOX | choices._OF_EACH_PART | choices._NO_NUMBER
    assert free < set(Settings.model_fields)
    of_the_target = {name for name, field in AllOptions.model_fields.items() if option_of(field).in_target} - {"device"}
    others = {"core", "device_index", "device_access", "backend_options", "live_engines", "memory_fraction", "run_memory_bytes"}
    assert {"threads", "tf32", "cuda_graphs"} < of_the_target
    assert set(Settings.model_fields) - free == of_the_target | others


def _parts(choices: Choices) -> list[Part]:
    return plan(resolve(choices), reference=Path("reference"), tables=Path("tables"))


def test_every_backend_dtype_and_protocol_has_its_parts() -> None:
    names = [part.name for part in _parts(ON_A_GPU)]
    backends = [name for name in backend_names() if "cuda" in device_kinds(name)]
    assert len(backends) >= 3
    for backend in backends:
        assert {f"{kind}-{backend}" for kind in ("contract", "clocks", "repeatability", "table1")} <= set(names)
        for dtype in ("float16", "float32"):
            tables = {f"table-{backend}-{dtype}-{protocol.value}" for protocol in ProtocolName}
            assert tables | {f"student-{backend}-{dtype}", f"validation-{backend}-{dtype}"} <= set(names)
    assert len(set(names)) == len(names)
    assert names[-1] == "report"


def test_tables_come_before_what_needs_them() -> None:
    names = [part.name for part in _parts(ON_A_GPU)]
    for backend in resolve(ON_A_GPU).backends:
        validation = names.index(f"validation-{backend}-float16")
        tables = [names.index(name) for name in names if name.startswith(f"table-{backend}-float16")]
        assert max(tables) < names.index(f"student-{backend}-float16") < validation


def test_results_are_json_that_says_what_ran(tmp_path: Path) -> None:
    def run(bench: Bench) -> None:
        bench.run("hello", "-c", "print('{\"said\": 1}')", environment={"SOME": "thing"})

    ended(tmp_path, run)
    document = json.loads((tmp_path / "pretended" / "result.json").read_text())
    (command,) = document["commands"]
    assert (command["name"], command["arguments"][0], command["returncode"]) == ("hello", "-c", 0)
    assert command["environment"] == {"SOME": "thing"}
