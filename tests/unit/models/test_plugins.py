"""Names that other packages add, and what is wrong with some of those packages."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from models import plugin_registry, plugins
from models.operators.layers import build_operator
from models.plugins import PluginError, own_entries
from models.spaces.fasterseg.space import FasterSegSpace
from models.spaces.registry import SPACES, create_space, published_readers, register_space, space_class, space_names
from models.spec.architectures import SpaceSpec
from models.spec.errors import ErrorCode, InvalidSpecError, UnknownNameError
from models.spec.kinds import KINDS, KindInfo, kind_info, kind_names, register_kind
from models.spec.operators import OperatorSpec
from models.spec.table_files import TableFormat, read_table, write_table
from models.spec.verdicts import table_verdict
from nas_client.data.datasets import dataset_names, open_dataset
from profiler_service.backends.backend_options import AllOptions
from profiler_service.backends.registry import backend_names, create_backend, device_kinds
from tests.support.fake_service import make_table
from tests.support.plugins import Environment, environment_fixture
from tests.support.repository import ROOT

__all__ = ["environment_fixture"]

TABLE = make_table()  # now: a test's own environment does not have its space
WIDER = """
from models.spaces.fasterseg.space import FasterSegSpace

class Wider(FasterSegSpace):
    name = "wider"
    description = "FasterSeg under another name"
"""

KIND = """
from models.spec.kinds import KindInfo

CONV1X1 = KindInfo("conv1x1", builder="my_modules:conv1x1")
"""

MODULES = """
from models.operators.layers import ConvBnRelu

def conv1x1(spec):
    return ConvBnRelu(spec.in_channels, spec.out_channels, 1, stride=spec.stride)
"""

CONV1X1 = {"kind": "conv1x1", "in_channels": 4, "out_channels": 6, "height": 5, "width": 7}


def test_a_plugins_names_are_listed_without_importing_it_and_imported_when_used(environment: Environment) -> None:
    environment.install("wider-space", modules={"wider_space": WIDER}, spaces={"wider": "wider_space:Wider"})
    assert space_names() == sorted({*SPACES.own_names(), *SPACES.registered(), "wider"})
    assert "wider_space" not in sys.modules
    assert create_space(SpaceSpec(name="wider", input_size=(64, 64))).description == "FasterSeg under another name"
    assert str(SPACES.origin("wider")) == "wider-space 1.0"


def test_a_kind_brings_its_module(environment: Environment) -> None:
    modules = {"my_kinds": KIND, "my_modules": MODULES}
    environment.install("my-kinds", modules=modules, operators={"conv1x1": "my_kinds:CONV1X1"})
    spec = OperatorSpec.parse(CONV1X1)
    assert "my_modules" not in sys.modules, "a spec needs no torch"
    assert type(build_operator(spec)).__name__ == "ConvBnRelu"
    assert "conv1x1" in kind_names()


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit('no licence\\nfound')", "SystemExit: no licence found"),
        ("Other = 1", "AttributeError: module 'broken_space' has no attribute 'Broken'"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_one_sentence_and_takes_nothing_along(
    environment: Environment, source: str, told: str
) -> None:
    environment.install("broken-space", "0.3", {"broken_space": source}, spaces={"broken": "broken_space:Broken"})
    environment.install("wider-space", modules={"wider_space": WIDER}, spaces={"wider": "wider_space:Wider"})
    with pytest.raises(PluginError) as caught:
        space_class("broken")
    assert caught.value.message == f"search space 'broken' of broken-space 0.3 cannot be loaded: {told}"
    assert caught.value.code is ErrorCode.UNKNOWN_NAME
    assert space_class("wider").name == "wider"
    assert space_class("fasterseg") is FasterSegSpace
    assert published_readers()
    (broken, fine) = plugin_registry.plugins([SPACES])
    assert (str(broken.origin), broken.problems) == ("broken-space 0.3", (caught.value.message,))
    assert (str(fine.origin), fine.names, fine.problems) == ("wider-space 1.0", {"search space": ["wider"]}, ())


def test_a_kind_whose_module_cannot_be_imported_is_told_when_it_is_built(environment: Environment) -> None:
    environment.install("my-kinds", modules={"my_kinds": KIND}, operators={"conv1x1": "my_kinds:CONV1X1"})
    with pytest.raises(PluginError, match="module of operator kind 'conv1x1' cannot be loaded: ModuleNotFoundError"):
        build_operator(OperatorSpec.parse(CONV1X1))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("my_things:NUMBER", "at 'my_things:NUMBER' is no subclass of SearchSpace but 7"),
        ("my_things:Wider", "at 'my_things:Wider' calls itself 'wider'"),
    ],
)
def test_an_entry_point_to_something_else_is_refused(environment: Environment, value: str, told: str) -> None:
    environment.install("my-things", modules={"my_things": WIDER + "NUMBER = 7\n"}, spaces={"strange": value})
    with pytest.raises(PluginError) as caught:
        space_class("strange")
    assert caught.value.message == f"search space 'strange' of my-things 1.0 {told}"


def test_our_names_cannot_be_taken(environment: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    environment.install("impostor", "2.1", {"impostor": WIDER}, spaces={"fasterseg": "impostor:Wider"})
    for _ in range(2):
        SPACES._loaded.pop("fasterseg", None)
        assert space_class("fasterseg") is FasterSegSpace
    told = "search space 'fasterseg' of impostor 2.1 is refused: opclock 0.1.0 has that name already"
    assert capsys.readouterr().err == f"warning: {told}\n", "once"
    assert [plugin.problems for plugin in plugin_registry.plugins([SPACES])] == [(told,)]


def test_two_plugins_of_one_name_are_both_refused(environment: Environment) -> None:
    environment.install("one", "1.2", {"one": WIDER}, spaces={"wider": "one:Wider"})
    environment.install("other", "3.4", {"other": WIDER}, spaces={"wider": "other:Wider"})
    told = "search space 'wider' is refused: one 1.2 and other 3.4 both have that name"
    with pytest.raises(PluginError, match=f"^{told}$"):
        space_class("wider")
    assert [plugin.problems for plugin in plugin_registry.plugins([SPACES])] == [(told,), (told,)]
    assert space_class("fasterseg") is FasterSegSpace


def test_a_registered_name_that_an_entry_point_has_is_refused(environment: Environment) -> None:
    environment.install("one", "1.2", {"one": WIDER}, spaces={"wider": "one:Wider"})

    @register_space
    class Narrow(FasterSegSpace):
        name = "narrow"

    impostor = type("Impostor", (FasterSegSpace,), {"name": "wider", "__module__": __name__})
    with pytest.raises(InvalidSpecError, match=r"'wider' of tests is refused: one 1\.2 has that name already"):
        register_space(impostor)
    with pytest.raises(InvalidSpecError, match="'narrow' of elsewhere is refused: tests has that name already"):
        register_space(type("Impostor", (FasterSegSpace,), {"name": "narrow", "__module__": "elsewhere"}))
    assert register_space(Narrow) is Narrow, "the same class again is no harm"


def test_modules_of_the_variable_register_their_names(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    (environment.folder / "late.py").write_text(
        WIDER + "from models.spaces.registry import register_space\nregister_space(Wider)\n__version__ = '5'\n"
    )
    (environment.folder / "absent.py").write_text("import nothing_of_this_name")
    (environment.folder / "thief.py").write_text(
        "from models.spec.kinds import KindInfo, register_kind\nregister_kind(KindInfo('skip', builder='thief:x'))"
    )
    monkeypatch.setenv("OPCLOCK_PLUGINS", "absent, thief,late")
    assert "wider" in space_names()
    assert (space_class("wider").__module__, str(SPACES.origin("wider"))) == ("late", "late 5")
    absent = "module 'absent' of OPCLOCK_PLUGINS cannot be loaded: ModuleNotFoundError: No module named 'nothing_of_this_name'"
    thief = (
        "module 'thief' of OPCLOCK_PLUGINS cannot be loaded: InvalidSpecError: operator kind 'skip' of thief is refused: "
        "opclock 0.1.0 has that name already"
    )
    assert [failure.message for failure in plugins.module_failures()] == [absent, thief]
    with pytest.raises(UnknownNameError) as caught:
        space_class("wade")
    assert caught.value.message == f"unknown search space 'wade' (plugins here: late; {absent}; {thief})"
    found = {str(plugin.origin): plugin.problems for plugin in plugin_registry.plugins([SPACES, KINDS])}
    assert (found["late 5"], found["absent"]) == ((), (absent,))


def test_an_unknown_name_is_told_with_the_plugins_that_there_are(environment: Environment) -> None:
    environment.install("my-kinds", "0.9", {"my_kinds": KIND}, operators={"conv1x1": "my_kinds:CONV1X1"})
    told = r"^unknown {} 'nothing' \(plugins here: my-kinds 0\.9\)$"
    with pytest.raises(UnknownNameError, match=told.format("search space")):
        space_class("nothing")
    with pytest.raises(UnknownNameError, match=told.format("operator kind")):
        kind_info("nothing")
    with pytest.raises(UnknownNameError, match=told.format("backend")):
        create_backend("nothing")


def test_a_kind_says_what_builds_it() -> None:
    with pytest.raises(InvalidSpecError, match="'conv3x3' of nobody is refused: opclock"):
        register_kind(KindInfo("conv3x3", builder="nobody:conv"))
    for name in KINDS.own_names():
        assert kind_info(name).builder.startswith("models.operators.")


DATA = """
from nas_client.data.datasets import SyntheticStreets

class Alleys(SyntheticStreets):
    name = "alleys"
"""

BACKEND = """
from profiler_service.backends.backend_options import BackendOptions
from profiler_service.backends.cpu import CpuBackend
from models.spec.targets import TargetSpec

class Options(BackendOptions):
    steps: int = 1

class Stepping(CpuBackend):
    name = "stepping"
    reads_onnx = False
    options_type = Options
    dtypes = ("float32",)

    def target(self):
        return TargetSpec(device="none", backend=self.name)

    def build(self, artifact):
        raise NotImplementedError
"""


def test_a_data_set_and_a_backend(environment: Environment) -> None:
    environment.install("alleys", modules={"alleys": DATA}, datasets={"alleys": "alleys:Alleys"})
    environment.install("stepping", modules={"stepping": BACKEND}, backends={"stepping": "stepping:Stepping"})
    from nas_client.data.base import DataSettings

    assert "alleys" in dataset_names()
    assert len(open_dataset(DataSettings(name="alleys", train_images=3), "train")) == 3
    assert "stepping" in backend_names()
    assert device_kinds("stepping") == ()
    options: Any = create_backend("stepping", AllOptions(threads=2, backend_options='{"steps": 3}')).options
    assert (options.threads, options.steps) == (2, 3)


@pytest.mark.parametrize(
    ("backend", "text", "message", "hint"),
    [
        ("stepping", '{"step": 3}', "backend 'stepping' has no option 'step' of its own", "Did you mean 'steps'?"),
        ("stepping", '{"steps": "x"}', "backend 'stepping'.steps: .*valid integer", ""),
        ("stepping", '{"tf32": true}', "OPCLOCK_BACKEND_OPTIONS: 'tf32' has a variable of its own", "Set OPCLOCK_TF32."),
        ("stepping", "steps=3", r"OPCLOCK_BACKEND_OPTIONS is no JSON object \(got 'steps=3'\)", "Write it as"),
        ("onnxruntime", '{"steps": 3}', "backend 'onnxruntime' has no option 'steps' of its own", "It has none; unset"),
    ],
)
def test_options_of_a_backends_own_are_checked(
    environment: Environment, backend: str, text: str, message: str, hint: str
) -> None:
    environment.install("stepping", modules={"stepping": BACKEND}, backends={"stepping": "stepping:Stepping"})
    with pytest.raises(InvalidSpecError, match=message) as caught:
        create_backend(backend, AllOptions(backend_options=text))
    assert hint in caught.value.hint


def _name_of_space(name: str) -> str:
    return str(SPACES.origin(space_class(name).name))


def test_spawned_processes_know_the_plugins(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the workers of the service are, and the processes of a search: the environment is inherited."""
    environment.install("wider-space", modules={"wider_space": WIDER}, spaces={"wider": "wider_space:Wider"})
    source = WIDER.replace("wider", "late") + "from models.spaces.registry import register_space\nregister_space(Wider)\n"
    (environment.folder / "late.py").write_text(source)
    monkeypatch.setenv("OPCLOCK_PLUGINS", "late")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(_name_of_space, ["wider", "late", "fasterseg"]) == ["wider-space 1.0", "late", "opclock 0.1.0"]


def test_a_table_of_another_version_of_a_plugin_is_not_trusted(environment: Environment) -> None:
    environment.install("my-space", "2.0")
    environment.install("wider-space", "2.0", {"wider_space": WIDER}, spaces={"wider": "wider_space:Wider"})
    table = TABLE
    for version, reasons in (("1.0", 1), ("2.0", 0)):
        info = table.info.model_copy(update={"provenance": {"plugin wider-space": version, "plugin elsewhere": "7"}})
        found = [
            reason for reason in table_verdict(table.model_copy(update={"info": info})).reasons if reason.name == "plugins"
        ]
        assert len(found) == reasons
        assert all("measured with wider-space 1.0, and 2.0 is installed here" in reason.text for reason in found)


def test_modules_of_the_variable_have_versions_too(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    (environment.folder / "late.py").write_text("__version__ = '5'")
    monkeypatch.setenv("OPCLOCK_PLUGINS", "late")
    assert plugins.version_differences({"plugin late": "5"}) == []
    (told,) = plugins.version_differences({"plugin late": "4"})
    assert "measured with late 4, and 5 is installed here" in told
    assert plugins.missing_plugins({"plugin late": "5", "plugin never": "1", "host": "box"}) == "never 1"


def test_a_table_that_needs_a_plugin_which_is_not_installed_names_it(environment: Environment, tmp_path: Path) -> None:
    modules = {"my_kinds": KIND, "my_modules": MODULES}
    environment.install("my-kinds", "1.1", modules, operators={"conv1x1": "my_kinds:CONV1X1"})
    table = TABLE
    entry = table.entries[0].model_copy(update={"workload": OperatorSpec.parse(CONV1X1)})
    info = table.info.model_copy(update={"provenance": {"plugin my-kinds": "1.1"}})
    for file_format in TableFormat:
        path = tmp_path / f"table.{file_format}"
        write_table(table.model_copy(update={"info": info, "entries": (entry,)}), path, file_format)
    environment.uninstall_all()
    KINDS._loaded.pop("conv1x1")
    for file_format in TableFormat:
        with pytest.raises(
            UnknownNameError, match=r"measured with my-kinds 1\.1, which is not installed here: .*'conv1x1'"
        ) as told:
            read_table(tmp_path / f"table.{file_format}")
        assert told.value.hint == "Install my-kinds 1.1."


def test_versions_that_had_a_part_in_a_table_are_joined() -> None:
    earlier = {"host": "box", "plugin a": "1.0", "plugin b": "2"}
    now = {"plugin a": "1.1", "plugin b": "2", "plugin c": "3"}
    joined = {"plugin a": "1.0, 1.1", "plugin b": "2", "plugin c": "3"}
    assert plugins.joined_versions(earlier, now) == joined
    assert plugins.joined_versions(joined, now) == joined


def _forget() -> None:
    for function in (plugins.own_entries, plugins._own_project, plugins.own_origin):
        function.cache_clear()


def test_our_own_names_are_found_in_a_checkout_and_in_an_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A box that runs a checkout has no metadata; an installation has no pyproject.toml."""

    def nothing(name: str) -> Distribution:
        raise PackageNotFoundError(name)

    expected = own_entries()
    assert len(expected) > 15
    _forget()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(plugins, "distribution", nothing)
            assert own_entries() == expected
            _forget()
            patch.setattr(plugins, "_PROJECT", tmp_path / "pyproject.toml")
            with pytest.raises(PluginError, match="opclock is not installed, and there is no"):
                own_entries()
            lines = [
                f"[{group}]\n" + "".join(f"{e.name} = {e.value}\n" for e in expected if e.group == group)
                for group in plugins.GROUPS
            ]
            (tmp_path / "METADATA").write_text("Metadata-Version: 2.1\nName: opclock\nVersion: 0.1.0\n")
            (tmp_path / "entry_points.txt").write_text("\n".join(lines))
            patch.setattr(plugins, "distribution", lambda name: Distribution.at(tmp_path))
            patch.setattr(plugins, "version", lambda name: "0.1.0")
            assert set(own_entries()) == set(expected)
    finally:
        _forget()


def test_help_imports_no_plugin(environment: Environment) -> None:
    environment.install("broken-space", "0.3", {"broken_space": "1 / 0"}, spaces={"broken": "broken_space:Broken"})
    for module in ("profiler_service.cli.main", "nas_client.cli.main"):
        source = (
            f"import sys, {module} as m\nsys.path.insert(0, {str(environment.folder)!r})\nsys.argv[1:] = ['--help']\nm.main()"
        )
        ended = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=True)
        assert "Usage:" in ended.stdout
