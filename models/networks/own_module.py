"""A torch module of somebody's own, by its place: `package.module:Net`."""

from __future__ import annotations

import inspect
from importlib import import_module

import torch
from torch import nn

from models.spec.errors import InvalidSpecError

_SEED = 0
"""Of the weights, so that every process makes the same."""


def load_module(place: str) -> nn.Module:
    """The module: float32, on the CPU, in evaluation mode. Its weights are the same in every process, but for those of a module
    object whose package was imported before.

    Args:
        place: `package.module:name` of a module, or of a class or function that makes one without arguments.

    Raises:
        InvalidSpecError: there is no such thing, it fails, or it makes something else.
    """
    package, _, name = place.partition(":")
    torch.manual_seed(_SEED)
    try:
        found = getattr(import_module(package), name)
    except (Exception, SystemExit) as error:  # whatever the package does when it is imported
        raise InvalidSpecError(f"{place} cannot be imported: {type(error).__name__}: {error}") from error
    if not isinstance(found, nn.Module):
        if not callable(found):
            raise InvalidSpecError(f"{place} is a {type(found).__name__}, neither a torch module nor what makes one")
        found = _made(place, found)
    tensors = [*found.parameters(), *found.buffers()]
    others = {str(tensor.dtype) for tensor in tensors if tensor.is_floating_point() and tensor.dtype != torch.float32}
    if others:
        raise InvalidSpecError(f"{place} has weights in {', '.join(sorted(others))}; only float32 is measured")
    return found.eval()


def _made(place: str, make: object) -> nn.Module:
    assert callable(make)
    try:
        required = [
            name
            for name, parameter in inspect.signature(make).parameters.items()
            if parameter.default is parameter.empty and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
    except (TypeError, ValueError):
        required = []
    if required:
        raise InvalidSpecError(f"{place} needs {', '.join(required)}; name a function without arguments that makes the module")
    torch.manual_seed(_SEED)
    try:
        module = make()
    except (Exception, SystemExit) as error:  # whatever the constructor does
        raise InvalidSpecError(f"{place} cannot be made: {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise InvalidSpecError(f"{place} makes a {type(module).__name__}, not a torch module")
    return module
