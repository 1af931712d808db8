"""The reference pages of commands and settings, from the help texts and the docstrings of the settings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import typer
from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from nas_client.cli.main import app as client_app
from nas_client.settings import ClientSettings
from profiler_service.cli.commands import app as service_app
from profiler_service.settings import Settings
from scripts.column_docs import grid
from scripts.reference_markup import MADE, choices, code, kind, page, paragraphs, prose, shown

COMPUTED = {"ClientSettings.cache_dir": "`opclock/tables` in the user's cache folder"}
"""Defaults that depend on who asks, in words."""

SIGNS = {Ge: ("ge", "≥"), Gt: ("gt", ">"), Le: ("le", "≤"), Lt: ("lt", "<")}


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
        "## Plugins",
        "`OPCLOCK_PLUGINS=package.module,…` names modules that every process of both packages imports when a name is asked for "
        "that may be theirs ([extend.md](../extend.md#without-a-package)).",
        "## Published data",
        "`OPCLOCK_REFERENCE` names the folder of data published with papers. `make gpu-check` and some tests read it.",
    ]
    return page(parts)
