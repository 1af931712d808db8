"""The kinds of operator, as data: their attributes, strides and position in a network. No graph code, no torch.

`models.operators` holds the torch modules of our own kinds; plugins add others (`models.plugins`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.plugin_registry import Registry
from models.spec import bounds, limits
from models.spec.costs import CostsOf
from models.spec.errors import InvalidSpecError, UnknownNameError
from models.spec.sources import MOST_SOURCES, Sources

AttributeValue = bool | int | str


@dataclass(frozen=True)
class Attribute:
    """One attribute of a kind: its default and its allowed values.

    Attributes:
        choices: allowed values; those from `low` to `high` where there are none.
        strides: with which alone it may differ from its default; with all where empty.
        unstated: an operator states it only where it differs from its default. So it is with attributes that are younger than
            their kind: keys of operators without them stay.
    """

    default: AttributeValue
    choices: tuple[AttributeValue, ...] = ()
    low: int = 1
    high: int = 64
    strides: tuple[int, ...] = ()
    unstated: bool = False

    def goes_with(self, stride: int) -> bool:
        """Whether it may differ from its default at that stride."""
        return not self.strides or stride in self.strides

    def check(self, kind: str, name: str, value: AttributeValue) -> None:
        """Raises InvalidSpecError when `value` is of another type than the default, or not allowed."""
        if type(value) is not type(self.default):
            wanted = type(self.default).__name__
            raise InvalidSpecError(f"attribute {name!r} of kind {kind!r} must be {wanted}, not {value!r}")
        if self.choices and value not in self.choices:
            raise InvalidSpecError(f"attribute {name!r} of kind {kind!r} must be one of {list(self.choices)}, not {value!r}")
        if not self.choices and type(value) is int and not self.low <= value <= self.high:
            raise InvalidSpecError(
                f"attribute {name!r} of kind {kind!r} must be between {self.low} and {self.high}, not {value}"
            )


@dataclass(frozen=True)
class KindInfo:
    """Properties of an operator kind.

    Attributes:
        attributes: name to its default and bounds.
        strides: the strides it can be built with.
        keeps_channels: whether the output must have as many channels as the input.
        narrows: whether the output must not have more channels than the input.
        has_weights: whether a spec of this kind can have any.
        identity_if_unchanged: whether it does nothing, and has no weights, where input and output have the same shape.
        keeps_width_inside: whether its maps inside are as wide as its input, or narrower, and not as wide as its output.
        bounds: from an operator's shapes to upper bounds of its weights, inner maps and arithmetic (`models.spec.bounds`); by
            them what is too large is refused.
        costs: from an operator to its costs, or `package.module:object` of such a function (`models.spec.costs`). Empty: they
            are counted on the module with torch's formulas.
        builder: `package.module:object` of what makes the torch module from an `OperatorSpec`; imported when one is built.
        supernet_form: the same for its form in a supernet, called as `models.supernets.mixed_operators.SuperOperator`. Empty:
            the plain module, which serves edges of one width alone.
        ends_network: whether it is a network's last operator, so that its context has no suffix (docs/measurement.md).
        sources: the maps that its module takes, one argument each; see `models.spec.sources`.
    """

    name: str
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    strides: tuple[int, ...] = (1, 2)
    keeps_channels: bool = False
    narrows: bool = False
    has_weights: bool = True
    identity_if_unchanged: bool = False
    keeps_width_inside: bool = False
    ends_network: bool = False
    bounds: bounds.BoundsOf = bounds.two_convolutions
    costs: CostsOf | str = ""
    builder: str = ""
    supernet_form: str = ""
    sources: Sources = "one"

    def allowed_channels(self, in_channels: int, wanted: int) -> int:
        """The channels next to `wanted` that an output of an operator with that input may have."""
        if self.keeps_channels:
            return in_channels
        return min(in_channels, wanted) if self.narrows else wanted

    def complete(self, given: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
        """The given attributes with the defaults filled in, in the kind's order. Raises InvalidSpecError."""
        for name, value in given.items():
            if name not in self.attributes:
                raise UnknownNameError.of(f"attribute of kind {self.name!r}", name, self.attributes)
            self.attributes[name].check(self.name, name, value)
        complete = {name: given.get(name, attribute.default) for name, attribute in self.attributes.items()}
        return {name: value for name, value in complete.items() if not self._is_left_out(name, value)}

    def _is_left_out(self, name: str, value: AttributeValue) -> bool:
        attribute = self.attributes[name]
        return attribute.unstated and value == attribute.default

    def differing(self, given: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
        """Those of the given attributes that are not the default."""
        return {name: value for name, value in given.items() if value != self.attributes[name].default}


_RESIZE = {
    "resize": Attribute("bilinear", choices=("bilinear", "nearest")),
    "align_corners": Attribute(True, choices=(True, False)),
}
_CONVOLUTION = {
    "kernel": Attribute(3, choices=(1, 3, 5, 7, 9, 11, 13, 15)),
    "groups": Attribute(1, high=16_384),
    "dilation": Attribute(1, high=32),
}


def _checked(name: str, item: Any) -> KindInfo:
    if not isinstance(item, KindInfo):
        raise InvalidSpecError(f"is no KindInfo but {item!r}")
    if item.name != name:
        raise InvalidSpecError(f"calls itself {item.name!r}")
    if not item.builder:
        raise InvalidSpecError("names no builder of its module")
    return item


KINDS: Registry[KindInfo] = Registry("opclock.operators", _checked, lambda info: info.builder.partition(":")[0])


def register_kind(info: KindInfo) -> KindInfo:
    """Make a kind known. Registering another description under a known name is an error."""
    KINDS.register(info.name, info)
    return info


def kind_info(name: str) -> KindInfo:
    """The kind of that name. Raises UnknownNameError."""
    return KINDS.get(name)


def kind_names() -> list[str]:
    """All known kinds, sorted."""
    return KINDS.names()


_LAYERS = "models.operators.layers"
_SUPER = "models.supernets.mixed_operators:SuperOperator"

SKIP = KindInfo(
    "skip",
    {"factorised": Attribute(False, choices=(True, False), strides=(2,), unstated=True)},
    identity_if_unchanged=True,
    bounds=bounds.pointwise,
    builder="models.operators.skips:skip",
    supernet_form="models.supernets.factorised:skip_form",
)
CONV3X3 = KindInfo("conv3x3", bounds=bounds.one_convolution, builder=f"{_LAYERS}:conv3x3", supernet_form=_SUPER)
CONV3X3_X2 = KindInfo("conv3x3_x2", bounds=bounds.two_3x3, builder=f"{_LAYERS}:conv3x3_x2", supernet_form=_SUPER)
ZOOMED_CONV3X3 = KindInfo(
    "zoomed_conv3x3", _RESIZE, bounds=bounds.zoomed, builder=f"{_LAYERS}:ZoomedConv3x3", supernet_form=_SUPER
)
ZOOMED_CONV3X3_X2 = KindInfo(
    "zoomed_conv3x3_x2", _RESIZE, bounds=bounds.zoomed_twice, builder=f"{_LAYERS}:ZoomedConv3x3Twice", supernet_form=_SUPER
)
CONV_BN_RELU = KindInfo("conv_bn_relu", _CONVOLUTION, bounds=bounds.one_convolution, builder=f"{_LAYERS}:conv_bn_relu")
FEATURE_FUSION = KindInfo(
    "feature_fusion", strides=(1,), keeps_channels=True, bounds=bounds.pointwise, builder=f"{_LAYERS}:feature_fusion"
)
SEGMENTATION_HEAD = KindInfo(
    "segmentation_head",
    strides=(1,),
    keeps_width_inside=True,
    bounds=bounds.segmentation_head,
    builder=f"{_LAYERS}:SegmentationHead",
)
UPSAMPLE = KindInfo(
    "upsample",
    {"scale": Attribute(8, low=2, high=32)} | _RESIZE,
    strides=(1,),
    keeps_channels=True,
    has_weights=False,
    ends_network=True,
    bounds=bounds.resize,
    builder=f"{_LAYERS}:upsample",
)

_JOINS = "models.operators.joins"
_SIDE = Attribute(0, high=limits.MAX_SIDE)

RESIZE = KindInfo(
    "resize",
    {"to_height": _SIDE, "to_width": _SIDE} | _RESIZE,
    strides=(1,),
    keeps_channels=True,
    has_weights=False,
    bounds=bounds.resize,
    builder=f"{_JOINS}:resize",
    supernet_form="models.supernets.mixed_operators:ResizedAtNode",
)
CONCAT = KindInfo(
    "concat",
    {"sources": Attribute("")},
    strides=(1,),
    keeps_channels=True,
    has_weights=False,
    builder=f"{_JOINS}:concat",
    sources="parts",
)
ADD = KindInfo(
    "add",
    {"sources": Attribute(2, low=2, high=MOST_SOURCES)},
    strides=(1,),
    keeps_channels=True,
    has_weights=False,
    builder=f"{_JOINS}:add",
    sources="alike",
)
SCALE = KindInfo(
    "scale",
    {"gate": Attribute("channel", choices=("channel", "pixel"))},
    strides=(1,),
    keeps_channels=True,
    has_weights=False,
    builder=f"{_JOINS}:scale",
    sources="gate",
)

_DARTS = "models.operators.darts"
_WITHOUT_AFFINE = "models.supernets.without_affine:WithoutAffine"
_KERNEL = Attribute(3, choices=(3, 5))

SEP_CONV = KindInfo(
    "sep_conv",
    {"kernel": _KERNEL},
    bounds=bounds.separable_twice,
    builder=f"{_DARTS}:SepConv",
    supernet_form=_WITHOUT_AFFINE,
)
DIL_CONV = KindInfo(
    "dil_conv",
    {"kernel": _KERNEL},
    bounds=bounds.separable,
    builder=f"{_DARTS}:DilConv",
    supernet_form=_WITHOUT_AFFINE,
)
MBCONV = KindInfo(
    "mbconv",
    {
        "kernel": _KERNEL,
        "expansion": Attribute(6, high=16),
        "activation": Attribute("relu", choices=("relu", "silu")),
    },
    bounds=bounds.inverted_bottleneck,
    builder="models.operators.mbconv:MBConv",
    supernet_form=_WITHOUT_AFFINE,
)
SKIP_CONNECT = KindInfo(
    "skip_connect",
    identity_if_unchanged=True,
    bounds=bounds.skip_connection,
    builder=f"{_DARTS}:skip_connect",
    supernet_form=_WITHOUT_AFFINE,
)
MAX_POOL = KindInfo("max_pool", keeps_channels=True, has_weights=False, bounds=bounds.pooling, builder=f"{_DARTS}:max_pool")
_ATTENTION = "models.operators.attention"
_PER_WIDTH = "models.supernets.mixed_operators:OperatorPerWidth"
_SHARED = {"shared": Attribute(True, choices=(True, False))}

IRNN = KindInfo("irnn", _SHARED, strides=(1,), bounds=bounds.irnn, builder=f"{_ATTENTION}:irnn", supernet_form=_PER_WIDTH)
ADAPTIVE_ATTENTION = KindInfo(
    "adaptive_attention",
    {"rounds": Attribute(2, high=4), "reduction": Attribute(16)} | _SHARED,
    strides=(1,),
    keeps_channels=True,
    bounds=bounds.adaptive_attention,
    builder=f"{_ATTENTION}:adaptive_attention",
    supernet_form=_PER_WIDTH,
)
