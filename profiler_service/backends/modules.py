"""The torch module of a graph request: what every engine is compared with, and what torch's own backends run."""

from __future__ import annotations

from torch import nn

from models.networks.workloads import build_module
from models.spaces.registry import space_of
from models.spec.architectures import ArchitectureSpec
from models.spec.graphs import GraphRequest


def module_of(request: GraphRequest) -> nn.Module:
    """Float32, in eval mode, with the weights that its subject's key names.

    Raises:
        InvalidSpecError: the architecture is not one of its space's.
    """
    subject = request.subject
    plan = space_of(subject).plan(subject) if isinstance(subject, ArchitectureSpec) else None
    return build_module(request, plan)
