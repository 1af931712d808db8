"""What FasterSeg's authors published: a latency table, and Table 1 of the paper.

The latency table, `latency_lookup_table.npy`, is a pickled dictionary of names and milliseconds.

A name spells out an operator, `BasicResidual2x_H128_W256_Cin32_Cout48_stride1_dilation1`, and nothing of where or how it was
timed. What differs from our operators is said in the imported table's provenance: above all, that zoomed convolutions were
timed with nearest resizing, while the networks that FasterSeg trains, and so our operators, resize bilinearly with
align_corners. The entries keep the keys of *our* operators, since the published table stands for those in every use that its
authors made of it; as operators of their own, resized by nearest, no estimate and no loss would ever look them up. Likewise
skips of stride 1 and equal widths, identities in a decoded network, were timed as the 1×1 convolutions of the supernet.
Skips of stride 2 were timed factorised, and their keys say so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from models.spaces.published import PublishedOperator
from models.spec.errors import InvalidSpecError, TableFileError
from models.spec.operators import Dtype, OperatorSpec

_Value = TypeVar("_Value")

FORMAT = "the latency_lookup_table.npy of FasterSeg's repository"

PROVENANCE: Mapping[str, str] = {
    "format": FORMAT,
    "resize": "zoomed convolutions were timed with nearest resizing; their keys say bilinear, align_corners",
    "skip": "skips of stride 1 and equal widths were timed as 1×1 convolutions; their keys say identity",
    "protocol": "each operator alone, back to back",
}

_HINT = "Only tables written by FasterSeg's own latency tools can be imported."
_NAME = re.compile(r"(?P<operator>[A-Za-z]\w*?)(?P<fields>(?:_[A-Za-z]+[0-9]{1,6})+)")
_FIELD = re.compile(r"_([A-Za-z]+)([0-9]+)")


@dataclass(frozen=True)
class _Form:
    """How an operator is spelt: our kind of it, and the fields that follow height and width."""

    kind: str
    fields: tuple[str, ...]


_FORMS = {
    "FactorizedReduce": _Form("skip", ("Cin", "Cout", "stride")),
    "BasicResidual1x": _Form("conv3x3", ("Cin", "Cout", "stride", "dilation")),
    "BasicResidual2x": _Form("conv3x3_x2", ("Cin", "Cout", "stride", "dilation")),
    "BasicResidual_downup_1x": _Form("zoomed_conv3x3", ("Cin", "Cout", "stride", "dilation")),
    "BasicResidual_downup_2x": _Form("zoomed_conv3x3_x2", ("Cin", "Cout", "stride", "dilation")),
    "ConvNorm": _Form("conv_bn_relu", ("Cin", "Cout", "kernel", "stride")),
    "ff": _Form("feature_fusion", ("C",)),
    "head": _Form("segmentation_head", ("Cin", "Cout")),
}


@dataclass(frozen=True)
class PublishedRows:
    """Contents of the file: operators with their milliseconds, input size and classes."""

    entries: tuple[tuple[OperatorSpec, float], ...]
    input_size: tuple[int, int]
    classes: int


def read_rows(path: Path) -> PublishedRows:
    """The rows of a published table, in the file's order.

    Raises:
        TableFileError: a name or value that the format does not have, or rows of more than one input size.
        UnsafeTableError: see `read_numbers`.
    """
    from models.spaces.pickled_numbers import read_numbers  # here, so that a list of spaces needs no numpy

    named = read_numbers(path)
    entries: dict[str, tuple[OperatorSpec, float]] = {}
    for name, ms in named.items():
        operator = _operator(name, path)
        if ms < 0:
            raise TableFileError(f"{path}: {name!r} takes {ms} ms", hint=_HINT)
        if operator.key() in entries:
            raise TableFileError(f"{path}: {name!r} names an operator that an earlier row has", hint=_HINT)
        entries[operator.key()] = (operator, ms)
    operators = [operator for operator, _ in entries.values()]
    return PublishedRows(
        entries=tuple(entries.values()),
        input_size=_single(path, "input sizes, of its stems", {(o.height, o.width) for o in operators if o.in_channels == 3}),
        classes=_single(path, "numbers of classes", {o.out_channels for o in operators if o.kind == "segmentation_head"}),
    )


def _operator(name: str, path: Path) -> OperatorSpec:
    match = _NAME.fullmatch(name)
    form = _FORMS.get(match["operator"]) if match else None
    if match is None or form is None:
        raise TableFileError(f"{path}: {name!r} is not an operator of a FasterSeg table", hint=_HINT)
    fields = {field: int(value) for field, value in _FIELD.findall(match["fields"])}
    if tuple(fields) != ("H", "W", *form.fields):
        expected = ", ".join(("H", "W", *form.fields))
        raise TableFileError(f"{path}: {name!r} does not have the fields {expected}", hint=_HINT)
    if fields.get("dilation", 1) != 1:
        raise TableFileError(f"{path}: {name!r}: kind {form.kind!r} has no dilation", hint=_HINT)
    channels = fields.get("C")
    spec = {
        "kind": form.kind,
        "in_channels": fields.get("Cin", channels),
        "out_channels": fields.get("Cout", channels),
        "height": fields["H"],
        "width": fields["W"],
        "stride": fields.get("stride", 1),
        "attributes": _attributes(form.kind, fields),
    }
    try:
        return OperatorSpec.parse(spec)
    except InvalidSpecError as error:
        raise TableFileError(f"{path}: {name!r}: {error.message}", hint=_HINT) from error


def _attributes(kind: str, fields: Mapping[str, int]) -> dict[str, int | bool]:
    if kind == "skip" and fields["stride"] == 2:
        return {"factorised": True}
    return {"kernel": fields["kernel"]} if "kernel" in fields else {}


def _single(path: Path, what: str, values: set[_Value]) -> _Value:
    """The only value. Raises TableFileError unless there is exactly one."""
    if len(values) != 1:
        raise TableFileError(f"{path} has {len(values)} {what}; it must have one", hint=_HINT)
    return values.pop()


TITLE = "FasterSeg, Table 1: 3×3 convolutions, 256 channels, 32×64, one layer each (GTX 1080 Ti, TensorRT)"

_SHAPE = {"in_channels": 256, "out_channels": 256, "height": 32, "width": 64}

_GROUPED = "Parameters: ours include batch normalisation's 512, without which they are 0.295 M, printed as 0.29."
_DILATED = "FLOPs: the paper's fit a convolution padded by 1 instead of 2, whose output is 30×62 (1.10 G); ours is 32×64."
_ZOOMED = (
    "Receptive field: the paper's counts the kernel alone, two pixels apart, which is what nearest resizing gives; "
    "bilinear resizing, as in the networks that FasterSeg trains and here, looks at the pixels between as well."
)


def published_operators(dtype: Dtype) -> tuple[PublishedOperator, ...]:
    """The rows of the table, as printed. Its FLOPs are multiply-adds of the convolutions alone."""

    def operator(kind: str, **attributes: int) -> OperatorSpec:
        return OperatorSpec.parse({"kind": kind, "dtype": dtype, "attributes": attributes, **_SHAPE})

    return (
        PublishedOperator("convolution", operator("conv_bn_relu"), 0.15, 1.21, 0.59, 1),
        PublishedOperator("grouped (2)", operator("conv_bn_relu", groups=2), 0.13, 0.60, 0.29, 1, _GROUPED),
        PublishedOperator("dilated (2)", operator("conv_bn_relu", dilation=2), 0.25, 1.10, 0.59, 2, _DILATED),
        PublishedOperator("zoomed", operator("zoomed_conv3x3"), 0.09, 0.30, 0.59, 2, _ZOOMED),
    )
