"""The plugin of docs/extend.md, installed in an environment of its own, then tested and used as the page says, in order."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator

import pytest

from models.spec.table_files import read_table
from tests.support.installed import Installed
from tests.support.repository import ROOT

PAGE = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
PLUGIN = ROOT / "tests" / "plugins" / "toy_plugin"


def shown_files() -> dict[str, str]:
    """The files that the page shows, by name."""
    return dict(re.findall(r"^`?`([\w/.]+)`:\n\n```\w+\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL))


def steps() -> list[str]:
    """The commands of the section on the plugin, in order."""
    section = PAGE[PAGE.index("### Install it and use it") : PAGE.index("### Without a package")]
    blocks = re.findall(r"^```sh\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def test_the_page_shows_every_file_of_the_plugin_as_it_is() -> None:
    files = (path for path in PLUGIN.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    held = {path.relative_to(PLUGIN).as_posix(): path.read_text(encoding="utf-8") for path in files}
    assert shown_files() == held


def test_a_space_takes_less_than_a_hundred_lines() -> None:
    """Of code and documentation; blank lines are not work."""
    assert sum(bool(line.strip()) for line in shown_files()["toy_plugin/space.py"].splitlines()) < 100


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """The plugin as the page shows it."""
    pytest.importorskip("setuptools", reason="builds the plugin: pip install 'opclock[dev]'")
    environment = Installed(tmp_path_factory.mktemp("plugin"))
    source = environment.folder / "toy_plugin"
    for name, text in shown_files().items():
        path = environment.folder / name if name == "search.yaml" else source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    built = shutil.copytree(source, environment.folder / "source")
    environment.install(built)
    return environment


@pytest.mark.slow
@pytest.mark.timeout(600)  # a minute of work; much longer where others share the cores
def test_every_step_of_the_page_works(installed: Installed) -> None:
    (installed.folder / "lut_data").mkdir()
    table = ""
    for step in steps():
        words = [table if word == "ID" else word for word in shlex.split(step)]
        if words[0] == "pip":
            continue
        if words[0] == "export":
            installed.environment |= dict(word.split("=", 1) for word in words[1:])
            continue
        told = installed.run(*words, codes=(0, 3) if words[1] == "doctor" else (0,))
        if words[1] == "doctor":
            names = "backend warm_torch; data set discs; operator kind depthwise_separable; search space leaf"
            assert f"plugin toy-plugin 1.0: {names}\n" in told
            assert "backend warm_torch: " in told
        if words[1] == "tables":
            (listed,) = json.loads(installed.run("profiler-service", "tables", "--json"))["tables"]
            table = listed["id"]
    assert table, "the page lists no tables"

    measured = read_table_there(installed, "leaf.parquet")
    assert measured["provenance"]["plugin toy-plugin"] == "1.0"
    assert measured["kinds"] > {"depthwise_separable"}
    listed = json.loads(installed.run("profiler-service", "tables", "--json"))["tables"]
    (warm,) = [found["info"]["target"] for found in listed if found["info"]["target"]["backend"] == "warm_torch"]
    assert warm["options"]["warm_runs"] == "3"
    assert warm["settings"] == {"OPCLOCK_BACKEND_OPTIONS": '{"warm_runs": 3}'}
    network = json.loads((installed.folder / "network.json").read_text())
    assert (network["space"], len(network["genotype"]["operators"])) == ("leaf", 7)


def read_table_there(installed: Installed, name: str) -> dict[str, object]:
    """Facts about a table, read where its plugin is installed."""
    source = (
        "import json, sys; from pathlib import Path; from models.spec.table_files import read_table\n"
        "table = read_table(Path(sys.argv[1]))\n"
        "kinds = sorted({entry.workload.kind for entry in table.entries})\n"
        "print(json.dumps({'provenance': table.info.provenance, 'kinds': kinds}))"
    )
    found = json.loads(installed.run("python", "-c", source, name))
    return {**found, "kinds": set(found["kinds"])}


@pytest.mark.slow
def test_a_table_of_the_plugin_is_refused_by_name_where_it_is_not_installed(installed: Installed) -> None:
    """Here: this process does not see that environment. Uses the table that the page's steps have left."""
    from models.spec.errors import UnknownNameError

    table = installed.folder / "leaf.parquet"
    if not table.exists():
        pytest.skip("the page's steps left no table: run the entire module")
    with pytest.raises(UnknownNameError, match=r"measured with toy-plugin 1\.0, which is not installed here"):
        read_table(table)
