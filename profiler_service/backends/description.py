"""What is known of a backend before its runtime is loaded: where its class is, its options, and what it runs on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Self

from models.plugins import load_reference
from models.spec.errors import UnknownNameError
from profiler_service.backends.backend_options import BackendOptions, DeviceKind
from profiler_service.backends.base import Backend
from profiler_service.backends.errors import require_version
from profiler_service.errors import BackendUnavailableError


@dataclass(frozen=True)
class Runtime:
    """What a backend runs on.

    Attributes:
        module: by which it is imported; has a `__version__`. title: for people.
        oldest: its first version that the backend suits.
    """

    module: str
    title: str
    oldest: tuple[int, ...]


@dataclass(frozen=True)
class Implementation:
    """A backend on one kind of device.

    Attributes:
        reference: `package.module:Class`, imported when the backend is created; that imports the vendor's runtime.
        install: the command that installs what it runs on.
        options_type: the record of its options.
        runtime: None for one that looks after its versions itself, or has none.
    """

    reference: str
    install: str
    options_type: type[BackendOptions] = BackendOptions
    runtime: Runtime | None = None

    def load(self, name: str) -> type[Backend]:
        """The class. Raises BackendUnavailableError where its runtime is missing or too old."""
        try:
            if self.runtime is not None:
                found = import_module(self.runtime.module).__version__
                require_version(self.runtime.title, found, self.runtime.oldest, self.install)
            import_module(self.reference.partition(":")[0])
        except ImportError as error:
            if (error.name or "").startswith(("profiler_service", "models")):
                raise
            raise BackendUnavailableError(f"backend {name!r} cannot be loaded: {error}", hint=self.install) from error
        cls: type[Backend] = load_reference(self.reference, f"backend {name!r}")
        return cls


@dataclass(frozen=True)
class BackendInfo:
    """A backend, described without its runtime, or given as a class.

    Attributes:
        name: of the backend.
        by_device: its implementations by the kind of device they run on; the first kind is the one that is meant unless another
            is named.
        cls: the class itself, where the backend has no choice of devices.
    """

    name: str
    by_device: Mapping[DeviceKind, Implementation] = field(default_factory=dict)
    cls: type[Backend] | None = None

    @classmethod
    def of(cls, backend: type[Backend]) -> Self:
        """That of a class."""
        return cls(backend.name, cls=backend)

    @property
    def module(self) -> str:
        """Where its class is."""
        if self.cls is not None:
            return self.cls.__module__
        return next(iter(self.by_device.values())).reference.partition(":")[0]

    def options_type(self, device: DeviceKind | None) -> type[BackendOptions]:
        """The record of its options on that kind of device. Raises UnknownNameError."""
        return self.cls.options_type if self.cls is not None else self._on(device).options_type

    def load(self, device: DeviceKind | None) -> type[Backend]:
        """Its class on that kind of device.

        Raises:
            UnknownNameError: it does not run on that kind of device.
            BackendUnavailableError: its runtime is missing or too old.
        """
        return self.cls if self.cls is not None else self._on(device).load(self.name)

    def _on(self, device: DeviceKind | None) -> Implementation:
        kind = next(iter(self.by_device)) if device is None else device
        if kind not in self.by_device:
            raise UnknownNameError.of(f"device for backend {self.name!r}:", str(kind), list(self.by_device))
        return self.by_device[kind]
