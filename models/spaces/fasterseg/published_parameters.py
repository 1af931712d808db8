"""The architecture parameters that FasterSeg's authors published: `arch_0.pt` of the teacher, `arch_1.pt` of the student.

They are torch files from before the zip format, with tensors `alpha_1_0` … `beta_1_2` … `ratio_1_2`: granularity, network, and
the index of the scale; beside them stand accuracies and latencies. A teacher's γ has one column.
"""

from __future__ import annotations

import re
import struct
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from models.spaces.fasterseg.parameters import SCALES
from models.spec.errors import InvalidSpecError

MAX_FILE_BYTES = 2**20
"""Hundreds of times the size of the files that were published."""

_NAME = re.compile(rf"(?P<granularity>alpha|beta|ratio)_(?P<network>\d{{1,3}})_(?P<scale>[0-{len(SCALES) - 1}])")
_GRANULARITIES = {"alpha": "alpha", "beta": "beta", "ratio": "gamma"}
_HINT = "Give an arch_0.pt or arch_1.pt as FasterSeg's search writes it, or a JSON file."


def read_parameter_file(path: Path) -> dict[str, dict[str, list[list[float]]]]:
    """The logits in that file, in the form of a parameter file. Runs nothing that the file names.

    Raises:
        InvalidSpecError: it is no such file, is damaged, or asks for more than tensors and numbers.
        OSError: it cannot be read.
    """
    from torch import Tensor, strided

    content = _load(path)
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    networks = set()
    logits: dict[str, dict[str, list[list[float]]]] = {name: {} for name in _GRANULARITIES.values()}
    for name, tensor in sorted(tensors.items()):
        match = _NAME.fullmatch(name)
        if match is None or tensor.dim() != 2:
            shape = "×".join(map(str, tensor.shape)) or "()"
            raise InvalidSpecError(f"{path}: {name!r:.60}, a tensor of shape {shape}, is none of α, β, γ", hint=_HINT)
        if tensor.layout is not strided or tensor.is_quantized or tensor.is_meta or tensor.numel() > MAX_FILE_BYTES:
            raise InvalidSpecError(f"{path}: {name!r} is no dense tensor of numbers, or too large", hint=_HINT)
        networks.add(match["network"])
        group = str(SCALES[int(match["scale"])])
        logits[_GRANULARITIES[match["granularity"]]][group] = tensor.detach().double().tolist()
    if len(networks) != 1:
        raise InvalidSpecError(f"{path} holds logits of {len(networks)} networks; it must hold those of one", hint=_HINT)
    return logits


def _load(path: Path) -> dict[Any, Any]:
    import torch

    from models.spaces.pickled_numbers import SCALAR_STAND_INS

    if (size := path.stat().st_size) > MAX_FILE_BYTES:
        raise InvalidSpecError(f"{path}: {size} bytes; the limit is {MAX_FILE_BYTES}", hint=_HINT)
    data = path.read_bytes()
    try:
        with torch.serialization.safe_globals([(make, name) for name, make in SCALAR_STAND_INS.items()]):
            content = torch.load(BytesIO(data), map_location="cpu", weights_only=True)
    except (
        RuntimeError,
        EOFError,
        UnpicklingError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        OSError,
        struct.error,
    ) as error:
        # torch's own message would advise to run what the file names.
        raise InvalidSpecError(f"{path} is damaged, or holds more than tensors and numbers", hint=_HINT) from error
    if not isinstance(content, dict):
        raise InvalidSpecError(f"{path} holds a {type(content).__name__}, not logits by name", hint=_HINT)
    return content
