"""Resizing of feature maps to a size fixed when the module is made, as engines of static shape want it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from models.operators.registry import register
from models.spec.operators import OperatorSpec

BILINEAR = "bilinear"
NEAREST = "nearest"


class Resize(nn.Module):
    """Resizes a feature map.

    Shape: input (N, C, H, W); output (N, C, *size).

    Args:
        size: (height, width) of the output.
        mode: `bilinear` or `nearest`.
        align_corners: whether the corner pixels of input and output coincide; without meaning for `nearest`.
    """

    def __init__(self, size: tuple[int, int], *, mode: str = BILINEAR, align_corners: bool = True) -> None:
        super().__init__()
        self.size = size
        self.mode = mode
        self.align_corners = align_corners

    @classmethod
    def of(cls, spec: OperatorSpec, size: tuple[int, int]) -> Resize:
        """Resizing to that size in the way the operator's attributes say."""
        return cls(size, mode=str(spec.attributes["resize"]), align_corners=bool(spec.attributes["align_corners"]))

    def forward(self, x: Tensor) -> Tensor:
        align_corners = self.align_corners if self.mode == BILINEAR else None
        return functional.interpolate(x, self.size, mode=self.mode, align_corners=align_corners)

    def extra_repr(self) -> str:
        return f"size={self.size}, mode={self.mode}, align_corners={self.align_corners}"


@register("upsample")
def _upsample(spec: OperatorSpec) -> nn.Module:
    _, _, height, width = spec.output_shape
    return Resize.of(spec, (height, width))
