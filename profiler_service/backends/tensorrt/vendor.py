"""The vendor's Python module, found by import. Nothing else in this project imports it.

It has no type stubs, and a fake takes its place in tests, so that it is `Any` everywhere; whatever it returns that may mean
failure goes through `Vendor.must`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from profiler_service.backends.errors import out_of_memory
from profiler_service.errors import BackendError, BackendUnavailableError, DeviceMemoryError

_MESSAGES_KEPT = 5


@dataclass(frozen=True)
class Flavour:
    """One of the two runtimes.

    Attributes:
        name: of the backend. title: for people.
        modules: names under which the vendor ships it, the first that is there is taken.
        majors: versions that its API is known of. extra: what installs it.
        times_kernels: whether building times kernels on the device, keeping what it learns in a timing cache.
    """

    name: str
    title: str
    modules: tuple[str, ...]
    majors: tuple[int, ...]
    extra: str
    times_kernels: bool


TENSORRT = Flavour("tensorrt", "TensorRT", ("tensorrt",), (10, 11), extra="tensorrt", times_kernels=True)
TENSORRT_RTX = Flavour(
    "tensorrt_rtx",
    "TensorRT-RTX",
    ("tensorrt_rtx", "tensorrt_rtx_bindings"),
    (1,),
    extra="tensorrt-rtx",
    times_kernels=False,
)


class Vendor:
    """The module, and what it logged.

    Args:
        flavour: which runtime.
        module: the vendor's module.
    """

    def __init__(self, flavour: Flavour, module: Any) -> None:
        self.flavour, self.module = flavour, module
        self.version: str = module.__version__
        self._messages: list[str] = []
        self.logger = _logger(module, self._messages)

    def must(self, what: str, kind: type[BackendError], function: Callable[..., Any], *arguments: Any) -> Any:
        """What the vendor's function returns, unless it means failure by that.

        Args:
            what: was not done then, as `builds no engine`.
            kind: of the error.
            function: of the vendor's.
            *arguments: of the call.

        Raises:
            DeviceMemoryError, or `kind`: it returned None or False, or raised; with the errors that were logged meanwhile.
        """
        with self.translated(what, kind):
            value = function(*arguments)
        if value is None or value is False:
            raise self.failure(what, kind, self._messages)
        return value

    @property
    def replays_builds(self) -> bool:
        """Whether an engine can be built from a timing cache alone."""
        return self.flavour.times_kernels and hasattr(self.module.BuilderFlag, "ERROR_ON_TIMING_CACHE_MISS")

    @contextmanager
    def translated(self, what: str, kind: type[BackendError]) -> Iterator[None]:
        """Whatever the vendor raises inside becomes what `must` raises; errors of our own pass."""
        self._messages.clear()
        try:
            yield
        except BackendError:
            raise
        except Exception as error:  # the bindings turn a null pointer into whatever is at hand, mostly a TypeError
            raise self.failure(what, kind, [str(error), *self._messages]) from error

    def failure(self, what: str, kind: type[BackendError], reasons: Sequence[str]) -> BackendError:
        """An error that says what could not be done, and the vendor's reasons; DeviceMemoryError where memory ran out."""
        message = f"{self.flavour.title} {self.version} {what}"
        if reasons:
            message += ": " + "; ".join(dict.fromkeys(" ".join(reason.split()) for reason in reasons))
        error = kind(message)
        return DeviceMemoryError(message) if out_of_memory(error) else error


def load_vendor(flavour: Flavour) -> Vendor:
    """The runtime's module.

    Raises:
        BackendUnavailableError: it is not installed, cannot be loaded, or is of a version whose API is not known; says which.
    """
    hint = f"pip install 'opclock[{flavour.extra}]'"
    for name in flavour.modules:
        try:
            module = import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise BackendUnavailableError(f"{flavour.title} is not whole: {error}", hint=hint) from error
            continue
        except (ImportError, OSError) as error:  # a library of its own that is missing, or of another platform
            raise BackendUnavailableError(f"{flavour.title} cannot be loaded: {error}", hint=hint) from error
        vendor = Vendor(flavour, module)
        if int(vendor.version.split(".")[0]) not in flavour.majors:
            known = " or ".join(map(str, flavour.majors))
            raise BackendUnavailableError(f"{flavour.title} {vendor.version} is not supported, only {known}", hint=hint)
        return vendor
    raise BackendUnavailableError(f"backend {flavour.name!r} cannot be loaded: {flavour.title} is not installed", hint=hint)


def _logger(module: Any, messages: list[str]) -> Any:
    """The vendor's logger, which keeps its last errors and prints nothing."""

    class Logger(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= module.ILogger.ERROR:  # internal errors are more severe still
                messages.append(message)
                del messages[:-_MESSAGES_KEPT]

    return Logger()
