"""Reading pickles of others: nothing that they name is ever called."""

from __future__ import annotations

import contextlib
import os
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.spaces.pickled_numbers import MAX_FILE_BYTES, read_numbers
from models.spec.errors import TableFileError, UnsafeTableError

NUMBERS = {"a": 0.1, "b": 2.5e-17, "c": 3}


class Call:
    """Pickles as a call of that function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


def saved(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "table.npy"
    array = np.empty((), dtype=object)
    array[()] = content
    np.save(path, array, allow_pickle=True)
    return path


def pickled(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "table.pickle"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_bare_pickles_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    assert read_numbers(pickled(tmp_path, pickle.dumps(NUMBERS, protocol))) == NUMBERS


def test_a_saved_dictionary(tmp_path: Path) -> None:
    assert read_numbers(saved(tmp_path, NUMBERS)) == NUMBERS


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16, np.int64, np.uint8, np.dtype(">f8").type])
def test_numpy_scalars(tmp_path: Path, kind: Callable[[float], object]) -> None:
    assert read_numbers(saved(tmp_path, {"a": kind(2)})) == {"a": 2.0}


@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", ">i4", "|u1"])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_arrays_of_one_number(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    """Arrays within objects are pickled by reconstruction, whatever the byte order."""
    data = pickle.dumps({"a": np.full(shape, 2, dtype)}, protocol=4)
    assert read_numbers(pickled(tmp_path, data)) == {"a": 2.0}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(numbers=st.dictionaries(st.text(max_size=20), st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_any_dictionary_of_numbers_survives(tmp_path: Path, numbers: dict[str, float]) -> None:
    assert read_numbers(saved(tmp_path, numbers)) == numbers


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (Call(os.system, "touch pwned"), r"posix\.system|nt\.system"),
        ({"a": Call(eval, "open('pwned', 'w')")}, r"builtins\.eval"),
        ({"a": Call(getattr, "", "join")}, r"builtins\.getattr"),
        ({"a": Call(np.load, "pwned")}, r"numpy.*load"),
        ({"a": Call(np.fromfile, "pwned")}, r"numpy.*fromfile"),
        ({"a": Path("pwned")}, r"pathlib"),
        ({"a": complex(1, 2)}, r"builtins\.complex"),
        ({"a": np.datetime64("2020-01-01")}, "dtype 'M8'"),
        ({"a": np.array(["x"], dtype="U1")}, "dtype 'U1'"),
    ],
)
@pytest.mark.parametrize("bare", [True, False])
def test_whatever_else_a_pickle_names_is_refused_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object, named: str, bare: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    path = pickled(tmp_path, pickle.dumps(content)) if bare else saved(tmp_path, content)
    with pytest.raises(UnsafeTableError, match=named) as caught:
        read_numbers(path)
    assert str(path) in str(caught.value)
    assert "may run code" in caught.value.hint
    assert not (tmp_path / "pwned").exists()


def test_a_persistent_object_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsafeTableError, match="persistent object"):
        read_numbers(pickled(tmp_path, pickle.PROTO + b"\x02" + pickle.BINUNICODE + b"\x01\0\0\0x" + pickle.BINPERSID + b"."))


def test_an_encoding_other_than_that_of_bytes_is_refused(tmp_path: Path) -> None:
    """`_codecs.encode` is admitted because pickles of protocol 2 write bytes with it; it could also decompress."""
    data = b"\x80\x02c_codecs\nencode\nX\x01\0\0\0xX\x03\0\0\0zip\x86R."
    with pytest.raises(UnsafeTableError, match="encoding 'zip'"):
        read_numbers(pickled(tmp_path, data))


@pytest.mark.parametrize("name", [b"numpy\nndarray", b"numpy\ndtype", b"_codecs\nencode", b"numpy.core.multiarray\nscalar"])
def test_what_is_admitted_cannot_be_changed(tmp_path: Path, name: bytes) -> None:
    """BUILD sets attributes of the object it is applied to, and could replace what later loads would call."""
    changed = b"\x80\x02c" + name + b"\nN}X\x05\0\0\0_makeK\x01s\x86b."
    assert [op.name for op, _, _ in pickletools.genops(changed)][-2:] == ["BUILD", "STOP"]
    with pytest.raises(UnsafeTableError, match=r"a change of .*" + name.split(b"\n")[1].decode()):
        read_numbers(pickled(tmp_path, changed))
    test_a_saved_dictionary(tmp_path)


def test_a_shape_is_not_believed(tmp_path: Path) -> None:
    """numpy's own reconstruction would allocate what the pickle says, and read past the end of a short list."""
    data = pickle.dumps(np.array([{"a": 1.0}], dtype=object), protocol=2)
    lying = data.replace(b"K\x01\x85", b"J\xff\xff\xff\x7f\x85")
    assert lying != data
    assert read_numbers(pickled(tmp_path, lying)) == {"a": 1.0}


@pytest.mark.parametrize("put", [b"r\xff\xff\xff\x7f", b"p2147483647\n"])
def test_a_memo_place_is_not_believed(tmp_path: Path, put: bytes) -> None:
    """The unpickler would fill 32 GiB of memory up to that place."""
    with pytest.raises(TableFileError, match="memo index 2147483647"):
        read_numbers(pickled(tmp_path, b"\x80\x02}" + put + b"."))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "holds a pickled list"),
        ("text", "holds a pickled str"),
        ({1: 2.0}, "a name is not a text"),
        ({"x" * 300: 2.0}, "a name is not a text of at most 256 characters"),
        ({"a": "2"}, "the value of 'a' is a str"),
        ({"a": None}, "the value of 'a' is a NoneType"),
        ({"a": True}, "the value of 'a' is a bool"),
        ({"a": float("nan")}, "the value of 'a' is nan"),
        ({"a": -float("inf")}, "the value of 'a' is -inf"),
        ({"a": np.zeros(2)}, "an array of 2 values"),
        ({"a": {"b": 1.0}}, "the value of 'a' is a dict"),
    ],
)
def test_other_contents_are_no_table(tmp_path: Path, content: object, said: str) -> None:
    with pytest.raises(TableFileError, match=said) as caught:
        read_numbers(pickled(tmp_path, pickle.dumps(content, protocol=4)))
    assert not isinstance(caught.value, UnsafeTableError)


def test_an_array_of_several_objects_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "several.npy"
    np.save(path, np.array([{"a": 1.0}, {"b": 1.0}], dtype=object), allow_pickle=True)
    with pytest.raises(TableFileError, match="an array of 2 values"):
        read_numbers(path)


def test_a_plain_array_is_pointed_to_the_other_command(tmp_path: Path) -> None:
    path = tmp_path / "plain.npy"
    np.save(path, np.zeros(3))
    with pytest.raises(TableFileError, match=r"a \.npy file of float64") as caught:
        read_numbers(path)
    assert "profiler-service import" in caught.value.hint


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(cut=st.floats(0, 1, exclude_max=True))
def test_files_cut_short(tmp_path: Path, cut: float) -> None:
    whole = saved(tmp_path, NUMBERS).read_bytes()
    with pytest.raises(TableFileError, match=r"cut short or damaged|neither a \.npy"):
        read_numbers(pickled(tmp_path, whole[: int(cut * len(whole))]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore:Reading `.npy`:UserWarning")
def test_damaged_files_end_in_our_error_or_in_numbers(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(saved(tmp_path, {**NUMBERS, "d": np.float64(1), "e": np.ones(1)}).read_bytes())
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[position] = data.draw(st.integers(0, 255))
    with contextlib.suppress(TableFileError):
        numbers = read_numbers(pickled(tmp_path, bytes(content)))
        assert all(isinstance(value, float) for value in numbers.values())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(noise=st.binary(max_size=200), head=st.sampled_from([b"", b"\x80\x04", b"\x93NUMPY\x01\x00", b"PK\x03\x04"]))
def test_noise_is_no_table(tmp_path: Path, noise: bytes, head: bytes) -> None:
    with pytest.raises(TableFileError):
        read_numbers(pickled(tmp_path, head + noise))


def test_a_file_that_is_not_there_and_one_that_is_too_large(tmp_path: Path) -> None:
    with pytest.raises(TableFileError, match=r"cannot read .*absent\.npy: No such file"):
        read_numbers(tmp_path / "absent.npy")
    with pytest.raises(TableFileError, match=r"cannot read .*: Is a directory"):
        read_numbers(tmp_path)
    large = tmp_path / "large.npy"
    with large.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(TableFileError, match=f"{MAX_FILE_BYTES + 1} bytes; the limit is {MAX_FILE_BYTES}"):
        read_numbers(large)
