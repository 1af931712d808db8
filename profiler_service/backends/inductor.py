"""torch.compile for static shapes: what Inductor needs, how it is called, where it caches; its backends on CPU and GPU.

Weights are constants of the compiled code (`freezing`), as they are once a network is deployed. Compiling takes seconds on a
CPU, of which later rounds pay nothing (docs/measurement.md).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.spec.graphs import GraphRequest
from models.spec.targets import TargetSpec
from profiler_service.backends.backend_options import AutotuneOptions, BackendOptions, InductorCudaOptions, InductorOptions
from profiler_service.backends.base import Engine, GraphArtifact
from profiler_service.backends.compiled_cache import CompiledCache
from profiler_service.backends.torch_cpu import TorchBackend
from profiler_service.backends.torch_cuda import TorchCudaBackend
from profiler_service.errors import BackendUnavailableError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of parts of torch that torch itself has given up
    from torch._inductor import compile_fx  # noqa: F401 - loaded here, not in the middle of the first build
    from torch._inductor import config as inductor_config
    from torch._inductor.utils import fresh_inductor_cache as fresh_cache

NAME = "inductor"

_CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


@dataclass(frozen=True)
class _Compiled:
    """A compiled module, on whatever device."""

    module: nn.Module

    @property
    def nbytes(self) -> int:
        """Of its parameters, which are in the compiled code once more."""
        return 2 * sum(tensor.numel() * tensor.element_size() for tensor in self.module.parameters())


class Compiler:
    """Compiles one module after another.

    What was compiled stays cached for as long as the process lives, so that every round times the same code.

    Args:
        options: of the backend. Inductor's own cache is under `cache_dir`; without one it lives as long as the process.
        names: of the programs that Inductor may call for this kind of device, the preferred one first.

    Raises:
        BackendUnavailableError: none of them is there, or Python's headers are not.
    """

    def __init__(self, options: AutotuneOptions, *, names: tuple[str, ...]) -> None:
        self._cache: CompiledCache[_Compiled] = CompiledCache()
        self._max_autotune = options.max_autotune
        self._fresh = False
        self._directory = None if options.cache_dir is None else options.cache_dir / NAME
        self.toolchain = toolchain(names)
        inductor_config.compile_threads = 1  # no processes besides this one, which may be killed

    def compiled(self, key: str, make: Callable[[], nn.Module], array: Tensor) -> nn.Module:
        """The module that `make` makes, compiled for that input alone and run once; cached under that key.

        Torch's own errors pass through.
        """
        return self._cache.get(key, lambda: _Compiled(self._compile(make(), array))).module

    @contextmanager
    def from_scratch(self) -> Iterator[None]:
        """Nothing that was compiled earlier is used, and what is compiled meanwhile is not cached."""
        cache, self._cache, self._fresh = self._cache, CompiledCache(), True
        try:
            with fresh_cache():
                yield
        finally:
            self._cache, self._fresh = cache, False

    def _compile(self, module: nn.Module, array: Tensor) -> nn.Module:
        compiled: nn.Module = torch.compile(  # type: ignore[assignment]
            module,
            backend=NAME,
            dynamic=False,
            fullgraph=True,
            options={"freezing": True, "max_autotune": self._max_autotune, "autotune_num_choices_displayed": 0},
        )
        with torch.inference_mode(), self._caching(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice about options that are part of the target
            compiled(array)
        return compiled

    def options(self) -> dict[str, str]:
        """What of it goes into a target."""
        return {
            "freezing": "on",
            "max_autotune": "on" if self._max_autotune else "off",
            "shapes": "static",
            "toolchain": self.toolchain,
        }

    @contextmanager
    def _caching(self) -> Iterator[None]:
        """Inductor's cache is where this one's is, and not in a directory of /tmp whose name everybody knows."""
        if self._fresh:
            yield
            return
        directory = self._directory or Path(_own_directory().name)
        before = os.environ.get(_CACHE_VARIABLE)
        os.environ[_CACHE_VARIABLE] = str(directory.absolute())
        try:
            yield
        finally:
            if before is None:
                del os.environ[_CACHE_VARIABLE]
            else:
                os.environ[_CACHE_VARIABLE] = before


class InductorBackend(TorchBackend):
    """torch.compile of the modules that eager torch runs."""

    name: ClassVar[str] = NAME
    options_type: ClassVar[type[BackendOptions]] = InductorOptions
    options: InductorOptions

    def __init__(self, options: InductorOptions) -> None:
        super().__init__(options)
        self._compiler = Compiler(options, names=(os.environ.get("CXX", "g++"),))

    def target(self) -> TargetSpec:
        """See `Backend.target`."""
        return self.torch_target(self._compiler.options() | {"mode": "compiled"}, {NAME: torch.__version__})

    def rebuild(self, artifact: GraphArtifact) -> Engine:
        """See `Backend.rebuild`."""
        with self._compiler.from_scratch():
            return self.build(artifact)

    def _module(self, request: GraphRequest, array: Tensor) -> nn.Module:
        return self._compiler.compiled(request.key(), lambda: super(InductorBackend, self)._module(request, array), array)


class InductorCudaBackend(TorchCudaBackend):
    """torch.compile of the modules that `torch` runs on a GPU."""

    name: ClassVar[str] = NAME
    options_type: ClassVar[type[BackendOptions]] = InductorCudaOptions
    options: InductorCudaOptions

    def __init__(self, options: InductorCudaOptions) -> None:
        super().__init__(options)
        if find_spec("triton") is None:
            raise BackendUnavailableError(
                "inductor needs Triton on a GPU, which is not installed", hint="pip install triton, or reinstall torch."
            )
        self._compiler = Compiler(options, names=(os.environ["CC"],) if "CC" in os.environ else ("gcc", "clang"))

    def target(self) -> TargetSpec:
        """See `Backend.target`."""
        mode = "compiled, captured" if self.options.cuda_graphs else "compiled"
        return self.torch_target(self._compiler.options() | {"mode": mode}, {NAME: torch.__version__})

    def rebuild(self, artifact: GraphArtifact) -> Engine:
        """See `Backend.rebuild`: compiled anew, but with the algorithms that cuDNN has chosen already (`TorchCudaBackend`)."""
        with self._compiler.from_scratch():
            return self.build(artifact)

    def _module(self, request: GraphRequest, array: Tensor) -> nn.Module:
        return self._compiler.compiled(request.key(), lambda: super(InductorCudaBackend, self)._module(request, array), array)


def toolchain(names: tuple[str, ...]) -> str:
    """The compiler that Inductor calls, as it names itself: `g++ (Debian 12.2.0-14) 12.2.0`.

    Raises:
        BackendUnavailableError: see `Compiler`.
    """
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise BackendUnavailableError(
            f"inductor needs a compiler, and there is no {' or '.join(names)} on the path",
            hint="Install one (apt-get install g++), or name yours in the environment variable CXX (CC for a GPU).",
        )
    if not has_headers():
        raise BackendUnavailableError(
            f"inductor needs Python's headers, and there is no Python.h in {sysconfig.get_path('include')}",
            hint="Install them: apt-get install python3-dev",
        )
    try:
        reported = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=60, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        raise BackendUnavailableError(f"{found} cannot be run: {error}", hint="Reinstall the compiler.") from error
    return next(iter(reported.stdout.splitlines()), found)


def has_headers() -> bool:
    """Whether Python's headers are where extensions look for them."""
    return (Path(sysconfig.get_path("include")) / "Python.h").exists()


@cache
def _own_directory() -> TemporaryDirectory[str]:
    """This process's cache, removed with it. One for all: Inductor remembers paths in it."""
    return TemporaryDirectory(prefix="opclock-inductor-")
