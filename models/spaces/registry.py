"""Search spaces by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from models.networks.structure import NetworkPlan
from models.plugin_registry import Registry
from models.spaces.base import SearchSpace
from models.spaces.published import OperatorComparison, PublishedReader
from models.spec.architectures import ArchitectureSpec, InputSize, Parameter, SpaceSpec, parameter_text
from models.spec.errors import InvalidSpecError
from models.spec.measurements import Workload


def _checked(name: str, item: Any) -> type[SearchSpace]:
    if not (isinstance(item, type) and issubclass(item, SearchSpace)):
        raise InvalidSpecError(f"is no subclass of SearchSpace but {item!r}")
    if item.name != name:
        raise InvalidSpecError(f"calls itself {item.name!r}")
    return item


SPACES: Registry[type[SearchSpace]] = Registry("opclock.spaces", _checked, lambda cls: cls.__module__)


def register_space(cls: type[SearchSpace]) -> type[SearchSpace]:
    """Make a space known by its name; usable as a decorator. Another class under a known name is an error."""
    SPACES.register(cls.name, cls)
    return cls


def space_names() -> list[str]:
    """All known spaces, sorted."""
    return SPACES.names()


def space_class(name: str) -> type[SearchSpace]:
    """The class of that space. Raises UnknownNameError."""
    return SPACES.get(name)


def create_space(spec: SpaceSpec) -> SearchSpace:
    """The search space of a spec, with defaults filled in. Raises InvalidSpecError.

    >>> space = create_space(SpaceSpec(name="fasterseg", input_size=(256, 512)))
    >>> len(space.operators())
    692
    >>> space.parameter_shapes()["beta"]
    {'16': (14, 2), '32': (13, 2)}
    """
    return space_class(spec.name).from_spec(spec)


def default_spec(spec: SpaceSpec) -> SpaceSpec:
    """The same space for images of the same size, with defaults for everything else. Raises InvalidSpecError."""
    return create_space(SpaceSpec(name=spec.name, input_size=spec.input_size)).spec


def space_label(spec: SpaceSpec) -> str:
    """As `SpaceSpec.label`, then parameters that differ from the defaults: `fasterseg 64×64 float32, widths=4,8`. The version
    of the grid is one of them.

    Of a space that is not known here all parameters count.
    """
    default = SpaceSpec(name=spec.name, input_size=spec.input_size)
    with suppress(InvalidSpecError):
        default = default_spec(spec)
    known = _parameters(default)
    changed = [f"{name}={parameter_text(value)}" for name, value in _parameters(spec).items() if value != known.get(name)]
    return ", ".join(filter(None, (spec.label(), " ".join(changed))))


def _parameters(spec: SpaceSpec) -> Mapping[str, Parameter]:
    stated = {"version": spec.version} if spec.version else {}
    return {**stated, "classes": spec.classes, "batch": spec.batch, **spec.parameters}


def space_of(architecture: ArchitectureSpec) -> SearchSpace:
    """The architecture's space. Parameters that the architecture does not state take the defaults. Raises UnknownNameError."""
    return space_class(architecture.space).of_architecture(architecture)


def completed(architecture: ArchitectureSpec) -> ArchitectureSpec:
    """The architecture as its space writes it: equal networks have equal keys. Raises UnknownNameError, InvalidSpecError."""
    return space_class(architecture.space).completed(architecture)


def completed_workloads(workloads: Sequence[Workload]) -> tuple[Workload, ...]:
    """The workloads with every architecture as its space writes it; one of a space that is not known here stays as it is.

    Raises:
        InvalidSpecError: an architecture is none of its space's; names it and the field.
    """
    return tuple(_completed_workload(index, workload) for index, workload in enumerate(workloads))


def _completed_workload(index: int, workload: Workload) -> Workload:
    if not isinstance(workload, ArchitectureSpec) or workload.space not in SPACES.names():
        return workload
    try:
        return completed(workload)
    except InvalidSpecError as error:
        raise type(error)(f"workloads.{index}: {error.message}", hint=error.hint) from error


def read_architecture(text: str | bytes, source: str = "") -> ArchitectureSpec:
    """The architecture in a JSON document, as its space writes it; of earlier releases, too. One of a space that is not known
    here stays as it is.

    Args:
        text: the document.
        source: where it came from, named in messages.

    Raises:
        InvalidSpecError: it is none; names the field, its value and what is allowed.
    """
    architecture = ArchitectureSpec.parse_json(text, source=source)
    try:
        return completed(architecture) if architecture.space in SPACES.names() else architecture
    except InvalidSpecError as error:
        raise type(error)(f"{source}: {error.message}" if source else error.message, hint=error.hint) from error


def plan_at(architecture: ArchitectureSpec, input_size: InputSize) -> NetworkPlan:
    """The architecture's network for images of another size: steps of the same names, with the same weights.

    Raises:
        InvalidSpecError: no network takes images of that size; names what would fit.
    """
    resized = ArchitectureSpec.parse(architecture.model_dump() | {"input_size": input_size})
    return space_of(resized).plan(resized)


def published_readers() -> dict[str, type[PublishedReader]]:
    """Our own spaces that read tables their authors published, by name; a command line offers `import-<name>` for each.

    Plugins' are left out: a list of commands must not import them.
    """
    classes = {name: space_class(name) for name in SPACES.own_names()}
    return {name: cls for name, cls in classes.items() if issubclass(cls, PublishedReader)}


def operator_comparisons() -> dict[str, type[OperatorComparison]]:
    """Our own spaces whose authors compared single operators, by the name of the command that measures the same ones."""
    classes = [space_class(name) for name in SPACES.own_names()]
    return {cls.comparison_command: cls for cls in classes if issubclass(cls, OperatorComparison)}
