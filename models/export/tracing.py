"""Tracing by torch.fx in which `y += z` stays what it is: torch writes over `y`, which something else may read later."""

from __future__ import annotations

import operator

from torch import fx

IN_PLACE = frozenset({operator.iadd, operator.isub, operator.imul, operator.itruediv})
"""What the augmented assignments of Python are recorded as."""


class _Proxy(fx.Proxy):
    """torch.fx records `y += z` as `y + z`, since its own proxies do not have these methods."""

    def __iadd__(self, other: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})

    def __isub__(self, other: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.isub, (self, other), {})

    def __imul__(self, other: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.imul, (self, other), {})

    def __itruediv__(self, other: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.itruediv, (self, other), {})


class Tracer(fx.Tracer):
    """torch.fx's, with augmented assignments recorded as such."""

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """What the module's code sees of a node."""
        return _Proxy(node, self)
