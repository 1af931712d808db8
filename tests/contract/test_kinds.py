"""The suite of what every operator kind must satisfy, on each of our own, and on two of somebody else's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from models.spec.kinds import KINDS
from models.testing import OperatorSuite
from tests.support.own_kinds import own_kinds

for _kind in KINDS.own_names():
    _name = f"Test_{_kind}"
    globals()[_name] = type(_name, (OperatorSuite,), {"kind": _kind, "__module__": __name__})


class TestOfOthers(OperatorSuite):
    """Attention: products by functions, and maps that grow with the square of the pixels."""

    kind = "attention"

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _known(cls) -> Iterator[None]:
        with own_kinds():
            yield


class TestExportedByTorch(TestOfOthers):
    """A kind with layers that only torch's exporter knows."""

    kind = "grouped"
    channels = ((12, 4),)
