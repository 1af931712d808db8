"""Help is there at once: no command's loads what computes, measures or talks to anything."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.repository import ROOT

HEAVY = {"torch", "numpy", "scipy", "pyarrow", "onnx", "onnxruntime", "httpx", "fastapi", "sqlalchemy", "uvicorn"}
COMMANDS = {"nas-client": "nas_client.cli.main:app", "profiler-service": "profiler_service.cli.commands:app"}

ASK = """
import importlib, sys
import typer.main

name, where = sys.argv[1:]
module, attribute = where.split(":")
command = typer.main.get_command(getattr(importlib.import_module(module), attribute))

def asked(command, words):
    yield words
    for name, inner in getattr(command, "commands", {}).items():
        yield from asked(inner, [*words, name])

for words in asked(command, []):
    try:
        command.main([*words, "--help"], prog_name=name)
    except SystemExit as ended:
        assert not ended.code, words
    print("loaded after", "/".join(words) or name, *sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_no_help_loads_what_computes(name: str) -> None:
    """One process asks for all of a command's help, one after the other; the first that loads something is told."""
    asked = [sys.executable, "-c", ASK, name, COMMANDS[name]]
    ended = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {line.split()[2]: HEAVY.intersection(line.split()) for line in ended.stderr.splitlines()}
    assert len(loaded) > 10
    assert next(((words, heavy) for words, heavy in loaded.items() if heavy), None) is None
    assert ended.stdout.count("Usage:") == len(loaded)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_console_script_loads_as_little(name: str) -> None:
    module = f"{name.replace('-', '_')}.cli.main"
    source = (
        f"import sys, {module} as m\nsys.argv[1:] = ['--help']\ntry: m.main()\nfinally: print(*sys.modules, file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "Usage:" in ended.stdout
    assert HEAVY.isdisjoint(ended.stderr.split())
