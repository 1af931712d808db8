"""Mixed operators over superkernels: one convolution for all widths, of which narrower ones use the leading channels.

Source: FasterSeg §3.1.3; batch normalisation per width as in Slimmable Networks (Yu et al., ICLR 2019).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.operators.layers import BILINEAR, build_operator, zoomed_side
from models.plugins import load_reference
from models.spec.errors import InvalidSpecError, UnknownNameError
from models.spec.kinds import kind_info
from models.spec.operators import OperatorSpec


class SuperConv2d(nn.Module):
    """A convolution without bias whose output width is chosen at every call; the input's width is that of the input.

    Shape: input (N, C ≤ in_channels, H, W); output (N, out_channels of the call, ⌈H/stride⌉, ⌈W/stride⌉).

    Args:
        in_channels, out_channels: of the largest kernel.
        kernel: odd side length.
        stride: of the convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, *, stride: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(self, x: Tensor, out_channels: int) -> Tensor:
        weight = self.slice(x.shape[1], out_channels)
        return functional.conv2d(x, weight, stride=self.stride, padding=self.kernel // 2)

    def slice(self, in_channels: int, out_channels: int) -> Tensor:
        """The kernel at those widths. Shape: (out_channels, in_channels, kernel, kernel).

        What is whole is not cut. Cutting is padding by less than nothing: that is one operation, which writes the gradient of
        the whole kernel once, where indexing writes it for each dimension.
        """
        if torch.compiler.is_compiling():  # which writes it once in any case, and needs one graph for all widths
            return self.weight[:out_channels, :in_channels]
        made, given = self.weight.shape[:2]
        if (out_channels, in_channels) == (made, given):
            return self.weight
        return functional.pad(self.weight, (0, 0, 0, 0, 0, in_channels - given, 0, out_channels - made))

    @torch.no_grad()
    def copy_to(self, convolution: nn.Conv2d) -> None:
        """Gives a convolution of fixed widths the leading channels of this kernel."""
        convolution.weight.copy_(self.slice(convolution.in_channels, convolution.out_channels))

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}, kernel={self.kernel}, stride={self.stride}"


class WidthBatchNorm2d(nn.Module):
    """Batch normalisation with statistics and an affine part of their own for every width.

    Shape: input and output (N, C, H, W), C being one of the widths.

    Args:
        widths: channel counts.
    """

    def __init__(self, widths: Iterable[int]) -> None:
        super().__init__()
        self.norms = nn.ModuleDict({str(width): nn.BatchNorm2d(width) for width in sorted(set(widths))})

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.at(x.shape[1])(x)
        return y

    def at(self, width: int) -> nn.BatchNorm2d:
        """The normalisation of that width."""
        return cast("nn.BatchNorm2d", self.norms[str(width)])

    def copy_to(self, norm: nn.BatchNorm2d) -> None:
        """Gives a normalisation of fixed width the affine part and statistics of that width."""
        norm.load_state_dict(self.at(norm.num_features).state_dict())


@dataclass(frozen=True)
class Form:
    """What sets one kind apart from another.

    Attributes:
        kernel: side length of the convolutions.
        twice: whether there are two, the second of stride 1.
        zoomed: whether they run at half resolution.
    """

    kernel: int = 3
    twice: bool = False
    zoomed: bool = False


FORMS: Mapping[str, Form] = {
    "skip": Form(kernel=1),
    "conv3x3": Form(),
    "conv3x3_x2": Form(twice=True),
    "zoomed_conv3x3": Form(zoomed=True),
    "zoomed_conv3x3_x2": Form(twice=True, zoomed=True),
}
"""Kinds that `SuperOperator` is the form of. A skip is a 1×1 convolution throughout, also where the fixed one is the identity:
widths and strides of both ends are open until the architecture is decided."""


class SuperOperator(nn.Module):
    """One operator over superkernels; unlike a fixed one it takes maps of any size.

    Shape: input (N, C, H, W), C up to the largest input width; output (N, out_channels of the call, ⌈H/stride⌉, ⌈W/stride⌉).

    Args:
        spec: kind, stride and resizing; its channels and size do not count.
        in_channels: widths of the input.
        out_channels: widths of the output.

    Raises:
        UnknownNameError: the kind has no super form.
    """

    def __init__(self, spec: OperatorSpec, in_channels: Iterable[int], out_channels: Iterable[int]) -> None:
        super().__init__()
        if spec.kind not in FORMS:
            raise UnknownNameError.of("super form of kind", spec.kind, FORMS)
        form = FORMS[spec.kind]
        widths = sorted(set(out_channels))
        self.kind, self.stride, self.zoomed = spec.kind, spec.stride, form.zoomed
        self.mode = str(spec.attributes.get("resize", BILINEAR))
        self.align_corners = bool(spec.attributes.get("align_corners", True)) if self.mode == BILINEAR else None
        conv_stride = 1 if form.zoomed else spec.stride  # half resolution is stride 2's output size already
        self.conv1 = SuperConv2d(max(in_channels), widths[-1], form.kernel, stride=conv_stride)
        self.bn1 = WidthBatchNorm2d(widths)
        self.conv2 = SuperConv2d(widths[-1], widths[-1], form.kernel) if form.twice else None
        self.bn2 = WidthBatchNorm2d(widths) if form.twice else None

    def forward(self, x: Tensor, out_channels: int) -> Tensor:
        height, width = x.shape[2:]
        if self.zoomed:
            x = self._resize(x, (zoomed_side(height, self.stride), zoomed_side(width, self.stride)))
        y: Tensor = self.bn1(self.conv1(x, out_channels))
        if self.conv2 is not None and self.bn2 is not None:
            y = self.bn2(self.conv2(functional.relu(y, inplace=True), out_channels))
        if self.zoomed and self.stride == 1:
            y = self._resize(y, (height, width))
        return functional.relu(y, inplace=True)

    def _resize(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return functional.interpolate(x, size, mode=self.mode, align_corners=self.align_corners)

    def copy_to(self, operator: nn.Module) -> None:
        """Gives the fixed operator of this kind and stride the weights that its widths use here.

        An identity (a skip between equal widths) has none and stays what it is.
        """
        if isinstance(operator, nn.Identity):
            return
        self.conv1.copy_to(cast("nn.Conv2d", operator.conv1))
        self.bn1.copy_to(cast("nn.BatchNorm2d", operator.bn1))
        if self.conv2 is not None and self.bn2 is not None:
            self.conv2.copy_to(cast("nn.Conv2d", operator.conv2))
            self.bn2.copy_to(cast("nn.BatchNorm2d", operator.bn2))

    def extra_repr(self) -> str:
        return f"kind={self.kind}, stride={self.stride}"


class PlainOperator(nn.Module):
    """The fixed operator of a kind without a super form, on an edge of one width. Its module must take maps of any size.

    Shape: as the operator's.
    """

    def __init__(self, spec: OperatorSpec) -> None:
        super().__init__()
        self.kind, self.out_channels = spec.kind, spec.out_channels
        self.operator = build_operator(spec)

    def forward(self, x: Tensor, out_channels: int) -> Tensor:
        y: Tensor = self.operator(x)
        return y

    def copy_to(self, operator: nn.Module) -> None:
        """Gives the fixed operator these weights."""
        operator.load_state_dict(self.operator.state_dict())


class OperatorPerWidth(nn.Module):
    """A fixed operator for each pair of widths, of a kind whose weights no two widths share. Its module must take maps of any
    size, and state `in_channels` and `out_channels`.

    Shape: input (N, C, H, W), C being one of the input's widths; output (N, out_channels of the call, H, W).
    """

    def __init__(self, spec: OperatorSpec, in_channels: Collection[int], out_channels: Collection[int]) -> None:
        super().__init__()
        self.kind = spec.kind
        pairs = product(sorted(in_channels), sorted(out_channels))
        kept = [pair for pair in pairs if pair[0] == pair[1] or not kind_info(spec.kind).keeps_channels]
        self.operators = nn.ModuleDict(
            {f"{given}_{made}": build_operator(_of_widths(spec, given, made)) for given, made in kept}
        )

    def forward(self, x: Tensor, out_channels: int) -> Tensor:
        y: Tensor = self.operators[f"{x.shape[1]}_{out_channels}"](x)
        return y

    def copy_to(self, operator: nn.Module) -> None:
        """Gives the fixed operator the weights of its widths."""
        operator.load_state_dict(self.operators[f"{operator.in_channels}_{operator.out_channels}"].state_dict())


def _of_widths(spec: OperatorSpec, in_channels: int, out_channels: int) -> OperatorSpec:
    return OperatorSpec.parse(spec.model_dump() | {"in_channels": in_channels, "out_channels": out_channels})


class ResizedAtNode(nn.Module):
    """A resizing at the end of an edge. It leaves the map as it is: the node resizes it, to its own size for these
    images.

    Raises:
        InvalidSpecError: it is not bilinear with aligned corners, as a supernet resizes.
    """

    def __init__(self, spec: OperatorSpec, in_channels: Collection[int], out_channels: Collection[int]) -> None:
        super().__init__()
        self.kind = spec.kind
        if (spec.attributes["resize"], spec.attributes["align_corners"]) != (BILINEAR, True):
            raise InvalidSpecError(
                f"{spec.label()}: a supernet resizes bilinearly with aligned corners",
                hint="Let the operator's attributes say the same.",
            )

    def forward(self, x: Tensor, out_channels: int) -> Tensor:
        return x

    def copy_to(self, operator: nn.Module) -> None:
        """There is nothing to copy."""


def choice_of_edge(spec: OperatorSpec, in_channels: Collection[int], out_channels: Collection[int]) -> nn.Module:
    """One choice of an edge between maps of these widths: in the form of its kind, else as the plain module.

    It has `kind`, `forward(x, out_channels)` and `copy_to(operator)`.

    Raises:
        UnknownNameError: the kind has no super form, and the widths are several.
        PluginError: its form cannot be imported.
    """
    if form := kind_info(spec.kind).supernet_form:
        cls = load_reference(form, f"the supernet form of operator kind {spec.kind!r}")
        built: nn.Module = cls(spec, in_channels, out_channels)
        return built
    if len(in_channels) == len(out_channels) == 1:
        return PlainOperator(spec)
    raise UnknownNameError(
        f"operator kind {spec.kind!r} has no form for several widths ({len(in_channels)} enter, {len(out_channels)} leave)",
        hint="Name a supernet_form in its KindInfo, or let the edge have one width.",
    )


class MixedOperator(nn.Module):
    """Every choice of one edge, weighted and summed.

    Shape: input (N, C, H, W); output (N, out_channels of the call, ⌈H/stride⌉, ⌈W/stride⌉).

    Args:
        specs: one per choice, in the order of α's columns, all of one stride.
        in_channels: widths of the input.
        out_channels: widths of the output.

    Source: FasterSeg eq. 2.
    """

    def __init__(self, specs: Iterable[OperatorSpec], in_channels: Iterable[int], out_channels: Iterable[int]) -> None:
        super().__init__()
        entering, leaving = set(in_channels), set(out_channels)
        self.specs = tuple(specs)
        self.choices = nn.ModuleList(choice_of_edge(spec, entering, leaving) for spec in self.specs)

    def forward(self, x: Tensor, weights: Tensor | None, out_channels: int, only: int | None = None) -> Tensor:
        """`weights`: of the choices; shape (choices,), or longer where other rows have more choices; None stands for 1. `only`:
        the one choice that is computed, where it is decided.
        """
        if only is not None:
            alone: Tensor = self.choices[only](x, out_channels)
            return alone if weights is None else weights[only] * alone
        assert weights is not None
        first, *others = self.choices
        total: Tensor = weights[0] * first(x, out_channels)
        for index, choice in enumerate(others, start=1):
            total = total + weights[index] * choice(x, out_channels)
        return total

    def choice(self, kind: str) -> SuperOperator:
        """The operator of that kind. Raises UnknownNameError."""
        operators = {operator.kind: operator for operator in self._operators()}
        if kind not in operators:
            raise UnknownNameError.of("choice of this edge", kind, operators)
        return operators[kind]

    def matching(self, spec: OperatorSpec) -> SuperOperator:
        """The choice of that kind, stride and attributes, whatever its channels and size.

        Raises:
            InvalidSpecError: there is none.
        """
        for own, choice in zip(self.specs, self._operators(), strict=True):
            if (own.kind, own.stride) == (spec.kind, spec.stride) and (
                own.attributes == spec.attributes or isinstance(choice, ResizedAtNode)
            ):
                return choice
        raise InvalidSpecError(f"no choice of this edge is {spec.label()}")

    def _operators(self) -> Iterable[SuperOperator]:
        return (cast("SuperOperator", choice) for choice in self.choices)
