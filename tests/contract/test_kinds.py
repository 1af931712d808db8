"""The suite of what every operator kind must satisfy, on each of our own."""

from __future__ import annotations

from models.spec.kinds import KINDS
from models.testing import OperatorSuite

for _kind in KINDS.own_names():
    _name = f"Test_{_kind}"
    globals()[_name] = type(_name, (OperatorSuite,), {"kind": _kind, "__module__": __name__})
