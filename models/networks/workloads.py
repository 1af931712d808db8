"""The torch module of whatever a backend is asked to build. It is what engines are compared with."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from models.networks.module import build_network
from models.networks.plan import NetworkPlan
from models.operators.registry import build_operator
from models.operators.weights import fill
from models.spec.architectures import ArchitectureSpec
from models.spec.errors import InvalidSpecError
from models.spec.graphs import PREFIX_CHANNELS, ContextBase, GraphRequest
from models.spec.operators import OperatorSpec


def build_module(request: GraphRequest, plan: NetworkPlan | None = None) -> nn.Module:
    """The module of that graph: float32, on the CPU, in evaluation mode, its weights seeded by the subject's key.

    An operator has the same weights alone and in context, and a context the same prefix as its base, so that their
    outputs can be compared.

    Shape: input `request.input_shape`; output that of the subject, or (N, C, 1, 1) after a suffix.

    Args:
        request: what to build.
        plan: the network of an architecture, which its search space writes; None for every other subject.

    Raises:
        InvalidSpecError: an architecture came without a plan.
    """
    subject = request.subject
    if isinstance(subject, OperatorSpec):
        operator = _filled_operator(subject)
        return _in_context(operator, subject, request.has_suffix) if request.in_context else operator
    if isinstance(subject, ContextBase):
        return _sequence(prefix=_prefix(subject), suffix=nn.AdaptiveAvgPool2d(1))
    return _filled_network(subject, plan)


def _filled_operator(spec: OperatorSpec) -> nn.Module:
    with torch.device("meta"):
        module = build_operator(spec)
    return fill(module, spec.key())


def _filled_network(architecture: ArchitectureSpec, plan: NetworkPlan | None) -> nn.Module:
    if plan is None:
        raise InvalidSpecError(f"{architecture.label()} cannot be built without its plan")
    with torch.device("meta"):
        module = build_network(plan)
    return fill(module, architecture.key())


def _in_context(operator: nn.Module, spec: OperatorSpec, has_suffix: bool) -> nn.Module:
    prefix = _prefix(ContextBase.of(spec))
    if not has_suffix:
        return _sequence(prefix=prefix, operator=operator)
    return _sequence(prefix=prefix, operator=operator, suffix=nn.AdaptiveAvgPool2d(1))


def _prefix(base: ContextBase) -> nn.Module:
    with torch.device("meta"):
        module = nn.Conv2d(PREFIX_CHANNELS, base.channels, kernel_size=1)
    return fill(module, base.key())


def _sequence(**parts: nn.Module) -> nn.Module:
    return nn.Sequential(OrderedDict(parts)).eval()
