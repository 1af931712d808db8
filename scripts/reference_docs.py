"""Writes docs/reference/: commands, settings, exit codes and HTTP, from the code that they describe.

python -m scripts.reference_docs            # writes the pages
python -m scripts.reference_docs --check    # ends with 1 where one is out of date

Nothing on the pages depends on the machine, on the terminal or on the release: change help texts and docstrings, not the pages.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
import textwrap
import types
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path, PurePath
from typing import Any, Literal, Union, get_args, get_origin

import typer
from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from models.spec.errors import ErrorCode, ExitCode
from models.spec.targets import TargetSpec
from nas_client.cli.main import app as client_app
from nas_client.settings import ClientSettings
from profiler_service.api.app import create_app
from profiler_service.cli.commands import app as service_app
from profiler_service.settings import Settings
from profiler_service.version import service_version
from profiler_service.worker.protocol import BackendDescription
from scripts.column_docs import attributes, grid, member_docs

DOCS = Path(__file__).parents[1] / "docs"
FOLDER = DOCS / "reference"
MADE = "Made by `python -m scripts.reference_docs`. Change {source}, not this page."

COMPUTED = {"ClientSettings.cache_dir": "`opclock/tables` in the user's cache folder"}
"""Defaults that depend on who asks, in words."""

INTERRUPTED = (
    "130",
    "Interrupted by Ctrl-C. A command that measures, searches or trains ends so on SIGTERM too. It keeps what it has: "
    "a command that measures goes on when it is given again, the others with `--resume`.",
)
"""No member of `ExitCode`: the shell's own number."""

RELEASE = "VERSION"
"""What stands in examples for the version of the release."""

LONGEST_EXAMPLE = 60
"""Lines of an example; networks have hundreds."""

WIDTH = 120
"""Of lines of text. Tables and examples have the lines that they need."""

STATUS_WORDS = {"200": "OK", "202": "Accepted", "413": "Content too large", "422": "Unprocessable content"}
"""Statuses that Python, or FastAPI, calls differently from version to version."""

SIGNS = {Ge: ("ge", "≥"), Gt: ("gt", ">"), Le: ("le", "≤"), Lt: ("lt", "<")}


def code(text: str) -> str:
    """As code, in a table or out of it."""
    return f"`{text}`"


def prose(text: str) -> str:
    """A docstring's paragraph as one line, with the pages that it names as links."""
    return " ".join(re.sub(r"docs/([\w-]+)\.md", r"[\1.md](../\1.md)", text).split())


def paragraphs(text: str) -> str:
    """A docstring's paragraphs, wrapped."""
    lines = (textwrap.fill(prose(part), WIDTH, break_long_words=False, break_on_hyphens=False) for part in text.split("\n\n"))
    return "\n\n".join(lines)


def choices(values: str) -> str:
    """Names of choices for people; a bar would end a cell."""
    return ", ".join(code(value) for value in values.split("|"))


def kind(annotation: Any) -> str:
    """What a value of that type looks like: names of choices, or of the type."""
    if annotation is None or annotation is type(None):
        return ""
    if hasattr(annotation, "__value__"):  # `type X = …`
        return kind(annotation.__value__)
    origin = get_origin(annotation)
    if origin is Literal:
        return "|".join(map(str, get_args(annotation)))
    if origin in (Union, types.UnionType):
        return "|".join(filter(None, map(kind, get_args(annotation))))
    if origin is not None:  # a list or tuple of something, or something annotated
        return kind(get_args(annotation)[0])
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "|".join(str(member.value) for member in annotation)
    return {str: "text", int: "integer", float: "number", bool: "true|false", Path: "path"}.get(annotation, str(annotation))


def shown(value: object) -> str:
    """A default. A path of this machine has no place on a page."""
    if isinstance(value, PurePath) and value.is_absolute():
        raise SystemExit(f"a default is the path {value}; say in COMPUTED what it is")
    if value is None:
        return "not set"
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        value = "true" if value else "false"
    return code(str(value)) if value != "" else "empty"


def page(parts: Iterable[str]) -> str:
    """A whole page: its own sentences wrapped, tables and examples as they are."""
    made = (part if part.startswith(("|", "```", "#")) else paragraphs(part) for part in parts)
    return "\n\n".join(made) + "\n"


# Commands


def subcommands(app: typer.Typer, name: str) -> Iterator[tuple[str, Any]]:
    """Each command that does something, by all its words."""
    yield from _walk(typer.main.get_command(app), name)


def _walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    children: Mapping[str, Any] = getattr(command, "commands", {})
    if not children:
        yield name, command
    for word, child in children.items():
        yield from _walk(child, f"{name} {word}")


def is_option(parameter: Any) -> bool:
    """Whether it is given by name; else by its place."""
    return bool(parameter.opts[0].startswith("-"))


def parameter_row(parameter: Any) -> tuple[str, str, str]:
    """An option or argument: how it is written, what it means, what holds without it."""
    descriptor = parameter.type_descriptor
    annotation = getattr(descriptor, "annotation", str)
    flag = parameter.is_flag if is_option(parameter) else False
    wanted = kind(annotation)
    one_of = not flag and parameter.metavar is None and "|" in wanted
    value = "" if flag or one_of else code(parameter.metavar or wanted.upper())
    if is_option(parameter):
        names = sorted(parameter.opts, key=len, reverse=True)
        written = ", ".join(code(name) for name in [*names, *parameter.secondary_opts])
        written = f"{written} {value}".strip()
    else:
        written = code((parameter.metavar or parameter.name).upper())
    meaning = [prose(parameter.help or "")]
    if one_of:
        meaning.append(f"One of {choices(wanted)}.")
    limits = [f"{sign} {bound}" for sign, bound in (("≥", parameter.min), ("≤", parameter.max)) if bound is not None]
    if limits:
        meaning.append(f"Allowed: {', '.join(limits)}.")
    if parameter.envvar:
        meaning.append(f"Environment: {code(parameter.envvar)}.")
    return written, " ".join(meaning), parameter_default(parameter, flag=flag)


def parameter_default(parameter: Any, *, flag: bool) -> str:
    """What holds where it is not given."""
    if parameter.required:
        return "required"
    if isinstance(parameter.show_default, str):
        said = parameter.show_default
        return code(said) if re.fullmatch(r"[\w./:-]*[\d/_][\w./:-]*|onnxruntime", said) else said
    if flag and not parameter.default:
        return "off"
    return "" if parameter.default is None else shown(parameter.default)


def command_section(name: str, command: Any) -> str:
    """Everything about one command."""
    parameters = [parameter for parameter in command.params if not parameter.hidden and parameter.name != "help"]
    arguments = [parameter for parameter in parameters if not is_option(parameter)]
    options = [parameter for parameter in parameters if is_option(parameter)]
    usage = " ".join([name, *((argument.metavar or argument.name).upper() for argument in arguments), "[OPTIONS]"])
    parts = [f"### {name}", paragraphs(inspect.cleandoc(command.help or "")), f"```text\n{usage}\n```"]
    if arguments:
        parts.append(grid(("argument", "meaning", "default"), map(parameter_row, arguments)))
    if options:
        parts.append(grid(("option", "meaning", "default"), map(parameter_row, options)))
    return "\n\n".join(parts)


def commands_page() -> str:
    """docs/reference/commands.md."""
    parts = [
        "# Commands",
        MADE.format(source="the help texts in the commands"),
        "`profiler-service` runs on the box whose latency counts. `nas-client` runs where the search runs. "
        "Every command takes `--help`. With `--json` a command prints one JSON document on stdout, and everything else on "
        "stderr. "
        "[Exit codes](exit-codes.md) are the same for all.",
    ]
    for app, name in ((service_app, "profiler-service"), (client_app, "nas-client")):
        parts += [f"## {name}", paragraphs(app.info.help or "")]
        parts += [command_section(words, command) for words, command in subcommands(app, name)]
    return page(parts)


# Settings


def setting_row(settings: type[BaseSettings], name: str, field: FieldInfo) -> tuple[str, str, str, str]:
    """Variable, values, default and meaning of one setting."""
    variable = f"{settings.model_config['env_prefix']}{name}".upper()
    metadata = [*field.metadata, *(item for part in get_args(field.annotation) for item in getattr(part, "__metadata__", ()))]
    found = [item for outer in metadata for item in getattr(outer, "metadata", [outer])]
    limits = [
        f"{sign} {getattr(item, attribute)}"
        for item in found
        for cls, (attribute, sign) in SIGNS.items()
        if isinstance(item, cls)
    ]
    values = kind(field.annotation)
    values = ", ".join([values if "|" not in values else choices(values), *limits])
    if field.default_factory is None:
        default = shown(field.default)
    elif (default := COMPUTED.get(f"{settings.__name__}.{name}", "")) == "":
        raise SystemExit(f"{settings.__name__}.{name}: its default is computed; say in COMPUTED what it is")
    if not field.description:
        raise SystemExit(f"{settings.__name__}.{name} has no docstring")
    return f"{code(variable)}<br>{code(name)}", values, default, prose(field.description)


def settings_table(settings: type[BaseSettings]) -> str:
    """All settings of one side."""
    rows = (setting_row(settings, name, field) for name, field in settings.model_fields.items())
    return grid(("variable, field", "values", "default", "meaning"), rows)


def command_variables() -> Iterator[tuple[str, str, str]]:
    """Variables that options read themselves, with the commands that do."""
    found: dict[str, tuple[str, list[str]]] = {}
    for app, name in ((service_app, "profiler-service"), (client_app, "nas-client")):
        for words, command in subcommands(app, name):
            for parameter in command.params:
                if parameter.envvar:
                    option = max(parameter.opts, key=len)
                    found.setdefault(parameter.envvar, (option, []))[1].append(words)
    for variable, (option, commands) in sorted(found.items()):
        yield code(variable), code(option), ", ".join(map(code, commands))


def settings_page() -> str:
    """docs/reference/settings.md."""
    parts = [
        "# Settings",
        MADE.format(
            source="the docstrings in `profiler_service/settings.py`, "
            "`profiler_service/backends/backend_options.py` and `nas_client/settings.py`"
        ),
        "Each setting is read from the environment. A command-line option of the same meaning goes first. "
        "A variable `OPCLOCK_…` that is no setting stops `profile`, `table1` and `serve` with exit code 3; the message gives "
        "the nearest name. "
        "“Part of the target” means: tables measured under different values are different tables.",
        "## Service",
        "For `profiler-service`. Times are in seconds, sizes in bytes.",
        settings_table(Settings),
        "## Client",
        "For `nas-client`. Times are in seconds.",
        settings_table(ClientSettings),
        "## Variables of single options",
        grid(("variable", "option", "commands"), command_variables()),
        "`OPCLOCK_REFERENCE` names the folder of data published with papers. `make gpu-check` and some tests read it.",
    ]
    return page(parts)


# Exit codes


def exit_codes_page() -> str:
    """docs/reference/exit-codes.md."""
    rows = [*((code(value), text) for value, text in member_docs(ExitCode).items()), (code(INTERRUPTED[0]), INTERRUPTED[1])]
    parts = [
        "# Exit codes",
        MADE.format(source="`ExitCode` in `models/spec/errors.py`"),
        "All commands of both packages end with one of these.",
        grid(("code", "meaning"), rows),
        "With `--require`, codes 3 and 4 go before 6.",
    ]
    return page(parts)


# HTTP


def openapi() -> dict[str, Any]:
    """The document that a running service shows at `/openapi.json`; nothing is opened for it."""
    target = TargetSpec(device="Example CPU", backend="onnxruntime", versions={"onnxruntime": "1.20.0"}, threads=1)
    backend = BackendDescription(target=target, dtypes=("float32",), reads_onnx=True, builds_on_device=False)
    document = create_app(Settings.model_construct(), store=None, queue=None, backend=backend).openapi()  # type: ignore[arg-type]
    return dict(document)


def schema_name(schema: Mapping[str, Any]) -> str:
    """A JSON schema in a few words; those with a name of their own as links."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return code(str(schema["const"]))
    if "enum" in schema:
        return choices("|".join(map(str, schema["enum"])))
    for variants in (schema.get("anyOf"), schema.get("oneOf")):
        if variants:
            return " or ".join(dict.fromkeys(map(schema_name, variants)))
    if schema.get("type") == "array":
        return f"list of {schema_name(schema.get('items', {}))}" if schema.get("items") else "list"
    if schema.get("type") == "object":
        inner = schema.get("additionalProperties")
        return f"object of {schema_name(inner)}" if isinstance(inner, dict) and inner else "object"
    return {"string": "text", "null": "null"}.get(schema.get("type", ""), schema.get("type", "any")) + (
        f" ({schema['format']})" if "format" in schema else ""
    )


def bounds(schema: Mapping[str, Any]) -> list[str]:
    """Limits of a number."""
    return [f"{sign} {schema[name]}" for name, sign in (("minimum", "≥"), ("maximum", "≤")) if name in schema]


def example_block(media_type: str, value: object) -> str:
    """An example, without the release's version, and cut where it is long."""
    if isinstance(value, str):
        lines = [line if len(line) <= 400 else line[:400] + "…" for line in value.splitlines()]
        language = "text"
    else:
        language = "json"
        text = json.dumps(value, indent=2, ensure_ascii=False)
        lines = re.sub(r"\[[^\[\]{}]+\]", lambda found: " ".join(found[0].split()), text).splitlines()
        lines = [re.sub(r'("service_version": )"[^"]*"', rf'\1"{RELEASE}"', line) for line in lines]
    if len(lines) > LONGEST_EXAMPLE:
        lines = [*lines[:LONGEST_EXAMPLE], f"… {len(lines) - LONGEST_EXAMPLE} more lines"]
        language = "text"
    return f"```{language}\n" + "\n".join(lines).replace(service_version(), RELEASE) + "\n```"


def operation_section(method: str, path: str, operation: Mapping[str, Any]) -> str:
    """One call."""
    parts = [f"### {method.upper()} {path}", paragraphs(operation.get("description", operation.get("summary", "")))]
    parameters = [
        (
            code(parameter["name"]),
            parameter["in"],
            ", ".join([schema_name(parameter["schema"]), *bounds(parameter["schema"])]),
            "required" if parameter.get("required") else shown(parameter["schema"].get("default")),
            prose(parameter.get("description", "")),
        )
        for parameter in operation.get("parameters", ())
    ]
    if parameters:
        parts.append(grid(("parameter", "in", "type", "default", "meaning"), parameters))
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"Body, `{media_type}`: {schema_name(content['schema'])}.")
        for name, example in content.get("examples", {}).items():
            parts += [f"Example: {name}.", example_block(media_type, example["value"])]
    rows, examples = [], []
    for status, response in operation["responses"].items():
        contents = response.get("content", {})
        shapes = [f"`{media}`" + (f": {schema_name(c['schema'])}" if c.get("schema") else "") for media, c in contents.items()]
        headers = [f"Header {code(name)}: {header['description']}" for name, header in response.get("headers", {}).items()]
        said = response["description"]
        if said == "Successful Response" or status in ("413", "422"):
            said = STATUS_WORDS[status]
        rows.append((status, prose(". ".join([said.removesuffix("."), *headers])), "; ".join(shapes)))
        if status.startswith("2"):
            for media_type, content in contents.items():
                if "example" in content:
                    examples += [f"Answer, `{media_type}`:", example_block(media_type, content["example"])]
    parts.append(grid(("status", "meaning", "body"), sorted(rows)))
    return "\n\n".join(parts + examples)


def schema_section(name: str, schema: Mapping[str, Any]) -> str:
    """One document that crosses HTTP."""
    description = inspect.cleandoc(schema.get("description", ""))
    said, (text, _, _) = attributes(description), description.partition("Attributes:\n")
    parts = [f"### {name}"]
    if text.strip():
        parts.append(paragraphs(re.split(r"\n\s*(?:Raises|Args):\n", text)[0].strip()))
    if "enum" in schema:
        parts.append(paragraphs("One of " + ", ".join(code(str(value)) for value in schema["enum"]) + "."))
    required = schema.get("required", ())
    rows = [
        (
            code(field),
            schema_name(described),
            "required" if field in required else shown(described["default"]) if "default" in described else "",
            prose(said.get(field, "")),
        )
        for field, described in schema.get("properties", {}).items()
    ]
    if rows:
        parts.append(grid(("field", "type", "default", "meaning"), rows))
    return "\n\n".join(parts)


def http_page() -> str:
    """docs/reference/http.md."""
    document = openapi()
    parts = [
        "# HTTP",
        MADE.format(source="the routes in `profiler_service/api` and the records in `models/spec`"),
        paragraphs(document["info"]["description"]),
        "A running service shows the same as an interactive page at `/docs`, and as OpenAPI at `/openapi.json`. "
        f"Versions in examples are left out (`{RELEASE}`).",
        "There is no access control yet. Leave the service on loopback, or put it behind a proxy that has some.",
        'Every error has one shape: `{"error": {"code", "message", "hint", "request_id"}}`. '
        "`code` is one of " + ", ".join(code(member.value) for member in ErrorCode) + ".",
        "## Calls",
    ]
    for path, operations in document["paths"].items():
        parts += [operation_section(method, path, operation) for method, operation in operations.items()]
    parts.append("## Documents")
    parts += [schema_section(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]
    return page(parts)


PAGES = {
    "commands.md": commands_page,
    "settings.md": settings_page,
    "exit-codes.md": exit_codes_page,
    "http.md": http_page,
}
"""Files in docs/reference to what makes them."""


def main() -> None:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for name, made in PAGES.items():
        path = FOLDER / name
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(made(), encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != made():
            sys.exit(f"{path} is out of date; write it with python -m scripts.reference_docs")


if __name__ == "__main__":
    main()
