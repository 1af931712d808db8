"""Writes docs/api.md: what `nas_client` and `profiler_service` export, from the docstrings of what they export.

python scripts/api_docs.py            # writes the page
python scripts/api_docs.py --check    # ends with 1 where the page is out of date
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

import nas_client
import profiler_service

PAGE = Path(__file__).parents[1] / "docs" / "api.md"

HEAD = """# What scripts may import

<!-- written by scripts/api_docs.py -->

`nas_client` and `profiler_service` export the names below, and these alone are kept from release to release: CHANGELOG.md
names whatever is renamed or removed among them. **Everything else may change**, modules and folders included, whenever that
serves the code. Commands, HTTP, file formats and operator keys have versions of their own (CHANGELOG.md).

Importing either package loads nothing else; a name brings what it needs (torch, pyarrow, a web framework) when it is first
used.
Every Python example on this page runs in the tests.
"""

CLIENT = """
From a table's name to a loss, and to a network's latency with its 95 % interval:

```python
from nas_client import ArchitectureParameters, DecoupledLatency, load_table

table = load_table("intel-xeon-processor/onnxruntime/fasterseg-256x512-fp32")
latency = DecoupledLatency.for_table(table)  # weights solved for this table; once
parameters = ArchitectureParameters.zeros(latency.shapes).requires_grad_()
latency(parameters).weighted_ms.backward()  # every step: tensor algebra alone
```

```python
import numpy as np

from nas_client import create_space, estimate, load_table

table = load_table("intel-xeon-processor/onnxruntime/fasterseg-256x512-fp32")
architecture = create_space(table.info.space).sample(np.random.default_rng(0))
found = estimate(architecture, table)
assert found.uncertainty is not None and not found.missing
print(f"{found.sum_ms:.1f} ms, {found.uncertainty.interval_ms}, {table.verdict.level.value}")
```

`load_table` also takes a file and the address of a service. `ServiceClient.connect(url, ClientSettings.load())` asks a
service for more than a table.
"""

SERVICE = """
What a service holds, and a service inside a program of one's own. `exposed=True` is for one that others than this machine
can reach: it answers nobody without a token.

```python
from pathlib import Path

from profiler_service import JobQueue, Settings, Store, create_app, describe_backend, open_runner, open_store

settings = Settings.load(database=Path("opclock.sqlite"))
if __name__ == "__main__":  # measuring starts processes, which import this module
    with open_store(settings) as store, JobQueue(store, open_runner(store, settings)) as queue:
        app = create_app(settings, store=store, queue=queue, backend=describe_backend(settings), exposed=True)
        # uvicorn.run(app), or any other ASGI server

    with Store.open(settings.database, create=False) as store:
        for table in store.tables():
            print(table.id, table.info.target.label())
```

Measuring itself has no function for scripts yet: run `profiler-service profile`, or ask a service.
"""


def page() -> str:
    """The whole page."""
    return "".join([HEAD, *_package(nas_client, CLIENT), *_package(profiler_service, SERVICE)])


def _package(package: ModuleType, examples: str) -> Iterator[str]:
    yield f"\n## {package.__name__}\n{examples}"
    for name in package.__all__:
        yield f"\n### `{name}`\n\n"
        yield from _entry(name, getattr(package, name))


def _entry(name: str, value: object) -> Iterator[str]:
    if not inspect.isroutine(value) and not inspect.isclass(value):
        yield f"`{value!r}`\n"
        return
    if not (inspect.isclass(value) and issubclass(value, (BaseModel, Exception))):
        yield f"```text\n{name}{_signature(value)}\n```\n\n"
    yield f"{_summary(name, value)}\n"
    if inspect.isclass(value):
        members = [f"- {text}\n" for text in _attributes(value)]
        members += [_member(member, found) for member, found in vars(value).items() if _documented(member, found)]
        yield "\n" + "".join(members) if members else ""


class _Named:
    """A default value that is a function, in a signature; as itself it would be shown with its address."""

    def __init__(self, function: Callable[..., object]) -> None:
        self._name = function.__qualname__

    def __repr__(self) -> str:
        return self._name


def _signature(value: Callable[..., object]) -> str:
    """Parameters, their types and defaults, and what comes back."""
    signature = inspect.signature(value)
    parameters = [
        parameter.replace(default=_Named(parameter.default)) if inspect.isroutine(parameter.default) else parameter
        for parameter in signature.parameters.values()
    ]
    text = str(signature.replace(parameters=parameters)).replace("'", "")
    return re.sub(r"ForwardRef\((\w+)[^)]*\)", r"\1", text).removesuffix(" -> None")


def _documented(name: str, value: object) -> bool:
    return not name.startswith("_") and (isinstance(value, (property, classmethod)) or inspect.isfunction(value))


def _member(name: str, value: object) -> str:
    call = "" if isinstance(value, property) else f"({', '.join(_arguments(value))})"
    return f"- `{name}{call}`: {_summary(name, value)}\n"


def _arguments(function: object) -> Iterator[str]:
    """Names of the parameters, with a `*` before those that are given by name alone, and `=…` after those with a default."""
    called: Any = function.__func__ if isinstance(function, classmethod) else function
    parameters = inspect.signature(called).parameters.values()
    starred = False
    for parameter in list(parameters)[1:]:
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            starred = True
            yield "*"
        text = str(parameter.replace(annotation=parameter.empty, default=parameter.empty))
        starred = starred or parameter.kind is parameter.VAR_POSITIONAL
        yield text if parameter.default is parameter.empty else f"{text}=…"


def _attributes(value: type) -> Iterator[str]:
    """What the class's docstring says of each attribute: `name: text`."""
    section = re.search(r"^Attributes:\n((?:[ ]+\S.*\n?|\n(?=[ ]))*)", inspect.getdoc(value) or "", re.MULTILINE)
    for name, text in re.findall(r"^ {4}(\w[\w, ]*): ((?:.*)(?:\n {5,}.*)*)", section[1] if section else "", re.MULTILINE):
        yield f"{', '.join(f'`{part.strip()}`' for part in name.split(','))}: {' '.join(text.split())}"


def _summary(name: str, value: object) -> str:
    """The first paragraph of its docstring."""
    text = inspect.getdoc(value)
    if text is None:
        raise SystemExit(f"{name} has no docstring")
    return " ".join(text.split("\n\n")[0].split())


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Write docs/api.md.")
    parser.add_argument("--check", action="store_true", help="Compare only.")
    if parser.parse_args().check:
        sys.exit(PAGE.read_text(encoding="utf-8") != page())
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
