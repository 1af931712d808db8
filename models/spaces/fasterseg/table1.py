"""FasterSeg's Table 1: four 3×3 convolutions of equal shape, with what they cost, beside the operators of ours."""

from __future__ import annotations

from models.spaces.published import PublishedOperator
from models.spec.operators import Dtype, OperatorSpec

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
