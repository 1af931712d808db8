"""Which engines are live together, and what each is expected to hold. Pure and seeded.

Groups are drawn anew every round, so that no operator always has the same neighbours, and many engines take turns, so that
caches are about as cold as inside a network (docs/measurement.md).

What an engine holds is estimated from shapes alone. On a GPU that is too little: the scratch memory of TensorRT engines is
known only once they are built, and nothing reports the workspaces of cuDNN and cuBLAS or what allocators round up to.
`memory_fraction` leaves room for that, and a group that runs out of memory all the same is divided.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

from models.spec.errors import InvalidSpecError
from models.spec.graphs import ContextBase
from models.spec.operators import DTYPE_BYTES, OperatorSpec


@dataclass(frozen=True)
class Member:
    """A graph that may join a group.

    Attributes:
        key: of the graph.
        memory_bytes: what its engine holds, estimated.
        base: the base graph that must be live with it, if it needs one.
    """

    key: str
    memory_bytes: int
    base: Member | None = None

    def needs(self, key: str | None) -> bool:
        """Whether that graph is its own or its base."""
        return key == self.key or (self.base is not None and key == self.base.key)


@dataclass(frozen=True)
class Group:
    """Graphs that are live together: those pending, the bases they need, and padding that makes the caches cold."""

    pending: tuple[Member, ...]
    padding: tuple[Member, ...] = ()

    @property
    def bases(self) -> tuple[Member, ...]:
        """The bases of what is pending, each once."""
        return tuple(_bases(self.pending).values())

    @property
    def keys(self) -> tuple[str, ...]:
        """Of all its graphs, each once."""
        return tuple(member.key for member in (*self.pending, *self.bases, *self.padding))

    def only(self, able: Callable[[Member], bool]) -> Group:
        """The group of those members that are able."""
        return Group(tuple(filter(able, self.pending)), tuple(filter(able, self.padding)))


@dataclass(frozen=True)
class GroupLimits:
    """How large a group may be. The sentinel comes on top.

    Attributes:
        min_live: engines up to which padding is added; with fewer, caches stay too warm.
        max_live: engines beyond which more would not make caches colder.
        memory_bytes: what the group's engines may hold together, estimated. A graph that exceeds it by itself is
            measured all the same, with nothing beside it but its base.
    """

    min_live: int
    max_live: int
    memory_bytes: int

    def __post_init__(self) -> None:
        if not 0 <= self.min_live <= self.max_live or self.max_live < 1:
            raise InvalidSpecError(f"live engines must satisfy 0 ≤ min ≤ max, not {self.min_live} and {self.max_live}")


def draw_groups(
    pending: Sequence[Member], padding: Sequence[Member], limits: GroupLimits, rng: random.Random
) -> tuple[Group, ...]:
    """Divide the pending graphs into as few groups as the limits allow, at random and of about equal size.

    Args:
        pending: graphs to be measured in this round; each ends up in exactly one group.
        padding: graphs with which small groups are filled up; those that are pending or a base there are passed over.
        limits: of each group.
        rng: decides which graphs share a group.
    """
    if not pending:
        return ()
    shuffled = list(pending)
    rng.shuffle(shuffled)
    divisions = _divisions(shuffled, limits.max_live)
    batches = next(batches for batches in divisions if all(_fits(batch, limits) for batch in batches))
    return tuple(_group(batch, padding, limits, rng) for batch in batches)


def _divisions(members: list[Member], max_live: int) -> Iterator[list[list[Member]]]:
    """The members in the fewest conceivable batches, then in one more each time, down to one member a batch."""
    for count in range(-(-len(members) // max_live), len(members) + 1):
        yield [members[start::count] for start in range(count)]


def _bases(batch: Sequence[Member]) -> dict[str, Member]:
    pending = {member.key for member in batch}
    return {m.base.key: m.base for m in batch if m.base is not None and m.base.key not in pending}


def _fits(batch: Sequence[Member], limits: GroupLimits) -> bool:
    if len(batch) == 1:
        return True
    live = [*batch, *_bases(batch).values()]
    return len(live) <= limits.max_live and sum(member.memory_bytes for member in live) <= limits.memory_bytes


def _group(batch: Sequence[Member], padding: Sequence[Member], limits: GroupLimits, rng: random.Random) -> Group:
    bases = _bases(batch)
    live = {member.key for member in batch} | bases.keys()
    free_bytes = limits.memory_bytes - sum(member.memory_bytes for member in (*batch, *bases.values()))
    chosen: list[Member] = []
    for member in rng.sample(padding, len(padding)):
        if len(live) >= limits.min_live:
            break
        if member.key not in live and member.memory_bytes <= free_bytes:
            live.add(member.key)
            chosen.append(member)
            free_bytes -= member.memory_bytes
    return Group(tuple(batch), tuple(chosen))


ENGINE_OVERHEAD_BYTES = 2 * 2**20
"""A runtime's own structures per engine; ONNX Runtime takes 1 to 2 MB for a session of a few nodes on a CPU. No GPU runtime was
measured."""

_WEIGHT_COPIES = 2
"""The graph's own and the one packed for the kernels."""


def operator_bytes(operator: OperatorSpec, *, in_context: bool) -> int:
    """An upper bound: inputs, output, the largest map between them, weights twice; and in context the prefixes' maps."""
    sources = sum(map(prod, operator.source_shapes))
    maps = (2 if in_context else 1) * sources + prod(operator.output_shape) + operator.bounds.inner
    return ENGINE_OVERHEAD_BYTES + int(maps + _WEIGHT_COPIES * operator.bounds.weights) * DTYPE_BYTES[operator.dtype]


def base_bytes(base: ContextBase) -> int:
    """The prefixes' maps, and what the engine takes anyhow."""
    return ENGINE_OVERHEAD_BYTES + base.batch * base.channels * base.height * base.width * DTYPE_BYTES[base.dtype]


def network_bytes(operators: Iterable[OperatorSpec]) -> int:
    """Weights of all operators, and the largest maps of one of them twice: others are reused from layer to layer, but
    branches keep some alive.
    """
    listed = list(operators)
    weights = sum(_WEIGHT_COPIES * int(op.bounds.weights) * DTYPE_BYTES[op.dtype] for op in listed)
    largest = max(
        int(sum(map(prod, op.source_shapes)) + op.bounds.inner + prod(op.output_shape)) * DTYPE_BYTES[op.dtype] for op in listed
    )
    return ENGINE_OVERHEAD_BYTES * (1 + len(listed) // 8) + weights + 2 * largest
