"""Backends by name. A backend's module, and with it the vendor's runtime, is imported when one is created."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from models.plugin_registry import Registry
from models.plugins import PluginError
from models.spec.base import invalid_from
from models.spec.errors import InvalidSpecError, UnknownNameError, nearest
from profiler_service.backends.backend_options import AllOptions, BackendOptions, DeviceKind, variable_of
from profiler_service.backends.base import Backend
from profiler_service.backends.description import BackendInfo


def _checked(name: str, item: Any) -> BackendInfo:
    info = BackendInfo.of(item) if isinstance(item, type) and issubclass(item, Backend) else item
    if not isinstance(info, BackendInfo):
        raise InvalidSpecError(f"is neither a subclass of Backend nor a BackendInfo but {item!r}")
    if info.name != name:
        raise InvalidSpecError(f"calls itself {info.name!r}")
    if info.cls is None and not info.by_device:
        raise InvalidSpecError("has neither a class nor an implementation")
    return info


BACKENDS: Registry[BackendInfo] = Registry("opclock.backends", _checked, lambda info: info.module)


def register_backend(cls: type[Backend]) -> type[Backend]:
    """Make a backend known by its name; usable as a decorator. Another class under a known name is an error."""
    BACKENDS.register(cls.name, BackendInfo.of(cls))
    return cls


def backend_names() -> list[str]:
    """All known backends, sorted; whether their runtimes are installed is not asked."""
    return BACKENDS.names()


def device_kinds(name: str) -> tuple[DeviceKind, ...]:
    """The kinds of device that a backend runs on, the one it is for first; none where it has no choice, or cannot be used."""
    try:
        return tuple(BACKENDS.get(name).by_device)
    except UnknownNameError:
        return ()


def kind_meant(name: str, chosen: DeviceKind | None) -> DeviceKind | None:
    """The kind of device that a backend measures on: the chosen one, else the one it is for; None where it has no choice."""
    return chosen or next(iter(device_kinds(name)), None)


def options_for(name: str, chosen: BackendOptions) -> BackendOptions:
    """The chosen options as the record of that backend, on the kind of device that they name.

    Raises:
        UnknownNameError: no backend of that name, or none that runs on the kind of device asked for.
        InvalidSpecError: an option asks for what the backend does not have; says which backends do.
    """
    record = BACKENDS.get(name).options_type(chosen.device)
    own = _own_options(name, chosen, record)
    if not own and isinstance(chosen, record) and not set(type(chosen).model_fields) - set(record.model_fields):
        return chosen
    for option in chosen.beyond(record):
        raise _without(name, chosen, option)
    try:
        return record.model_validate({option: value for option, value in chosen if option in record.model_fields} | own)
    except ValidationError as error:
        cause = error.errors()[0].get("ctx", {}).get("error")
        if isinstance(cause, InvalidSpecError):
            raise InvalidSpecError(f"backend {name!r} {cause.message}", hint=cause.hint) from error
        raise invalid_from(error, f"backend {name!r}") from error


def target_settings(name: str, options: BackendOptions) -> dict[str, str]:
    """The environment variables under which that backend measures on the same target again; those at their defaults are left
    out.
    """
    variables = options.variables()
    if options.device == kind_meant(name, None):
        variables.pop(variable_of("device"), None)
    return variables


def create_backend(name: str, options: BackendOptions | None = None) -> Backend:
    """That backend, its runtime loaded.

    Args:
        name: of the backend.
        options: its own record, or another whose values it takes over; by default its defaults.

    Raises:
        UnknownNameError: no backend of that name, or none that runs on the kind of device asked for.
        BackendUnavailableError: the runtime is not installed, or finds no device.
        InvalidSpecError: the backend cannot do what an option asks.
    """
    options = options_for(name, options or BackendOptions())
    return BACKENDS.get(name).load(options.device)(options)


def _own_options(name: str, chosen: BackendOptions, record: type[BackendOptions]) -> dict[str, Any]:
    """The options that only this backend has, as OPCLOCK_BACKEND_OPTIONS gives them. Raises InvalidSpecError."""
    text = getattr(chosen, "backend_options", "")
    if not text:
        return {}
    variable = variable_of("backend_options")
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise InvalidSpecError(f"{variable} is no JSON object (got {text!r})", hint=f"Write it as {variable}='{{\"x\": 1}}'.")
    own = [option for option in record.model_fields if option not in AllOptions.model_fields]
    for option in given:
        if option in AllOptions.model_fields:
            raise InvalidSpecError(f"{variable}: {option!r} has a variable of its own", hint=f"Set {variable_of(option)}.")
        if option not in own:
            raise InvalidSpecError(
                f"{variable}: backend {name!r} has no option {option!r} of its own",
                hint=nearest(option, own) if own else f"It has none; unset {variable}.",
            )
    return given


def _without(name: str, chosen: BackendOptions, option: str) -> InvalidSpecError:
    """The backend does not have that option."""
    by_device = BACKENDS.get(name).by_device
    kinds = {kind for kind, entry in by_device.items() if option in entry.options_type.model_fields}
    where = _ON[kind_meant(name, chosen.device) or "cpu"] if kinds else ""
    leave = f"Leave {option} off" if getattr(chosen, option) is True else f"Leave {variable_of(option)} out"
    return InvalidSpecError(
        f"backend {name!r} has no {option}{where}",
        hint=f"{leave}, or choose a backend that has it: {', '.join(_having(option))}.",
    )


_ON: dict[DeviceKind, str] = {"cpu": " on a CPU", "cuda": " on a GPU"}


def _having(option: str) -> list[str]:
    """The backends with that option, sorted; with the kind of device where another kind has none."""
    found = []
    for name in backend_names():
        with suppress(PluginError):
            info = BACKENDS.get(name)
            kinds = [kind for kind, entry in info.by_device.items() if option in entry.options_type.model_fields]
            everywhere = len(kinds) == len(info.by_device)
            if info.by_device:
                found += [name] if everywhere else [f"{name}{_ON[kind]}" for kind in kinds]
            elif option in info.options_type(None).model_fields:
                found.append(name)
    return sorted(found)
