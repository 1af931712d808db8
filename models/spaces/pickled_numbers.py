"""Dictionaries of numbers that numpy or pickle wrote, read without running anything that the file names.

A pickle is a program: it names callables, and loading it calls them. Here every name is looked up in a short list of stand-ins,
written below in plain Python, that can build numbers and lists and nothing else; not even numpy's own functions are reached
by what a file says. Any other name is refused before it is imported.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from models.spec.errors import TableFileError, UnsafeTableError

MAX_FILE_BYTES = 16 * 2**20
"""Several hundred times the size of a table of 700 entries."""

MAX_NAME = 256
"""Characters of a name."""

_HINT = "Check that the file is complete and that it is the table as its authors published it."
_READ_HEADER = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_numbers(path: Path) -> dict[str, float]:
    """A dictionary from names to finite numbers, pickled by itself or inside a `.npy` file (`numpy.save` of a dict).

    Raises:
        TableFileError: the file cannot be read, is cut short, or holds something else.
        UnsafeTableError: the pickle names something that it does not need for that.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise TableFileError(f"{path.stat().st_size} bytes; the limit is {MAX_FILE_BYTES}", hint=_HINT)
        stream = _pickle_in(path.read_bytes())
        _check_memo(stream)
        return _numbers(_Unpickler(stream, encoding="latin1").load())
    except OSError as error:
        raise TableFileError(f"cannot read {path}: {error.strerror}", hint="Check the path and its permissions.") from error
    except TableFileError as error:
        raise type(error)(f"{path}: {error.message}", hint=error.hint) from error
    except Exception as error:  # numpy's headers and pickle's streams may raise nearly anything when damaged
        raise TableFileError(f"{path} is cut short or damaged: {error or type(error).__name__}", hint=_HINT) from error


def _pickle_in(data: bytes) -> io.BytesIO:
    """The pickle in a file: all of it, or what follows a `.npy` header."""
    stream = io.BytesIO(data)
    if data.startswith(pickle.PROTO):
        return stream
    if not data.startswith(np.lib.format.MAGIC_PREFIX):
        raise TableFileError("neither a .npy file nor a pickle", hint=_HINT)
    version = np.lib.format.read_magic(stream)
    if version not in _READ_HEADER:
        raise TableFileError(f"a .npy file of version {version}; known are {', '.join(map(str, _READ_HEADER))}", hint=_HINT)
    _, _, dtype = _READ_HEADER[version](stream)
    if not dtype.hasobject:
        raise TableFileError(
            f"a .npy file of {dtype!s:.60}, not of a pickled dictionary",
            hint="A table that Opclock exported is read by `profiler-service import`.",
        )
    return stream


def _check_memo(stream: io.BytesIO) -> None:
    """Refuse memo indices beyond what the pickle could fill: the unpickler reserves memory up to the highest."""
    start, highest = stream.tell(), stream.getbuffer().nbytes
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("PUT", "LONG_BINPUT") and int(argument or 0) > highest:
            raise TableFileError(f"damaged: memo index {argument} in a file of {highest} bytes", hint=_HINT)
    stream.seek(start)


def _numbers(content: object) -> dict[str, float]:
    content = _only(content)
    if not isinstance(content, dict):
        raise TableFileError(f"holds a pickled {type(content).__name__}, not a dictionary of numbers", hint=_HINT)
    numbers = {}
    for name, value in content.items():
        if not isinstance(name, str) or len(name) > MAX_NAME:
            raise TableFileError(f"a name is not a text of at most {MAX_NAME} characters", hint=_HINT)
        numbers[name] = _number(name, _only(value))
    return numbers


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TableFileError(f"the value of {name!r} is a {type(value).__name__}, not a number", hint=_HINT)
    if not math.isfinite(value):
        raise TableFileError(f"the value of {name!r} is {value}; it must be finite", hint=_HINT)
    return float(value)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise _refused(f"{module}.{name}") from None

    def persistent_load(self, pid: object) -> Any:
        raise _refused(f"the persistent object {pid!r:.60}")


def _refused(what: str) -> UnsafeTableError:
    return UnsafeTableError(
        f"the pickle asks for {what}; only numpy scalars, arrays and plain containers are admitted",
        hint="Do not open this file with numpy or pickle: loading it may run code.",
    )


class _StandIn:
    """What a pickle gets for an admitted name: it can be called, and has no state to change."""

    __slots__ = ("_make", "_name")

    def __init__(self, name: str, make: Callable[..., object]) -> None:
        self._name = name
        self._make = make

    def __call__(self, *arguments: object) -> object:
        return self._make(*arguments)

    def __setstate__(self, state: object) -> None:
        raise _refused(f"a change of {self._name}")


class _Dtype:
    """A number's type, or `O` for objects."""

    __slots__ = ("_code", "_order")

    def __init__(self, code: str, *_flags: object) -> None:
        if not re.fullmatch(r"O8?|[fiu][1248]", code):
            raise _refused(f"values of dtype {code!r:.20}")
        self._code = code
        self._order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._order = "<" if state[1] == "<" else ">" if state[1] == ">" else "="

    def values(self, data: Any) -> list[Any]:
        """The elements: objects come as a list, numbers as bytes."""
        if self._code.startswith("O"):
            return list(data)
        numbers: list[Any] = np.frombuffer(data, np.dtype(self._order + self._code)).tolist()
        return numbers


class _Array:
    """A flat array; its shape is of no interest here."""

    __slots__ = ("_values",)

    def __init__(self, *_empty: object) -> None:
        self._values: list[Any] = []

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, _shape, dtype, _fortran, data = state
        self._values = dtype.values(data)

    def only(self) -> Any:
        """The only element. Raises TableFileError unless there is exactly one."""
        if len(self._values) != 1:
            raise TableFileError(f"an array of {len(self._values)} values where one was expected", hint=_HINT)
        return self._values[0]


def _only(value: object) -> object:
    return value.only() if isinstance(value, _Array) else value


def _scalar(dtype: _Dtype, data: bytes) -> object:
    (value,) = dtype.values(data)
    return value


def _encode(text: str, encoding: str) -> bytes:
    """How pickles of protocol 2 write bytes."""
    if encoding != "latin1":
        raise _refused(f"the encoding {encoding!r:.20}")
    return text.encode("latin1")


_STAND_INS = {
    (module, name): _StandIn(f"{module}.{name}", make)
    for modules, name, make in (
        (("numpy.core.multiarray", "numpy._core.multiarray"), "_reconstruct", _Array),
        (("numpy.core.multiarray", "numpy._core.multiarray"), "scalar", _scalar),
        (("numpy",), "ndarray", _Array),
        (("numpy",), "dtype", _Dtype),
        (("_codecs",), "encode", _encode),
    )
    for module in modules
}

SCALAR_STAND_INS: dict[str, Callable[..., object]] = {
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy.dtype": _Dtype,
}
"""What another reader of pickles may take for numpy's scalars, by name: they build numbers and nothing else."""
