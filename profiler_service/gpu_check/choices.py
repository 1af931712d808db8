"""What a check measures, and how much: chosen once on the command line, and the same for all parts in one output folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from models.atomic_file import replacing
from models.spaces.base import SearchSpace
from models.spaces.registry import create_space, operator_comparisons
from models.spec.architectures import SpaceSpec
from models.spec.errors import InvalidSpecError
from models.spec.measurements import Budget, ProtocolName
from models.spec.operators import Dtype
from models.terminal import parse_parameter, parse_size
from profiler_service.backends.backend_options import ENVIRONMENT_PREFIX, DeviceKind
from profiler_service.backends.registry import backend_names, device_kinds
from profiler_service.selection import most_shares
from profiler_service.settings import Settings

FILE = "choices.json"

FEWEST_NETWORKS, MOST_NETWORKS = 8, 10_000
"""Networks that `nas-client validate` accepts."""

_OF_THE_BOX = frozenset({"database", "cache_dir", "lock_dir", "host", "port"})
"""Settings of the box: folders and addresses."""

_OF_EACH_PART = frozenset({"backend", "device"})
"""Settings that each part sets itself."""

_NO_NUMBER = frozenset(
    {
        *("replay_builds", "plain_check", "start_timeout_s", "build_timeout_s", "run_timeout_s", "build_memory_bytes"),
        *("allowed_hosts", "root_path", "tls_certificate", "tls_key"),
        *("max_request_bytes", "head_timeout_s", "body_timeout_s"),
        *("max_connections", "max_event_streams", "max_requests_per_s"),
        *("max_queued_jobs", "max_queued_workloads", "max_queued_share", "max_kept_jobs", "cache_max_bytes"),
        *("cancel_timeout_s", "database_patience_s"),
        *("heartbeat_s", "shutdown_timeout_s", "log_level", "log_format"),
    }
)
"""Settings that change no measured value: cached kernels, checks, time limits, logs."""


@dataclass(frozen=True)
class Choices:
    """See `profiler-service gpu-check --help`.

    Attributes:
        device: kind of device.
        backends: backends to check, all or some of those that run on the device.
        dtypes, protocols: data types and protocols of the tables.
        space, input_size, parameters: search space to measure.
        budget: budget of every measurement.
        settings: settings of the environment that differ from the defaults and may change a value, as `OPCLOCK_TF32=true`.
        shares: number of commands that measure one table. Each must fit into the time limit of a part.
        sample: number of entries that are measured three times.
        architectures: number of networks in a validation.
        at_once: number of networks that one command measures, interleaved. They must fit into the time limit of a part.
    """

    device: DeviceKind
    backends: tuple[str, ...]
    dtypes: tuple[Dtype, ...]
    protocols: tuple[str, ...]
    space: str
    input_size: str
    parameters: tuple[str, ...]
    budget: str
    shares: int
    sample: int
    architectures: int
    at_once: int
    settings: tuple[str, ...] = ()

    def space_options(self) -> tuple[str, ...]:
        """The options that name the space on a command line."""
        parameters = [option for parameter in self.parameters for option in ("--parameter", parameter)]
        return ("--space", self.space, "--input-size", self.input_size, *parameters)

    @property
    def default_space(self) -> bool:
        """Whether the space has its default parameters, as its authors' networks do."""
        return not self.parameters


ON_A_GPU = Choices(
    device="cuda",
    backends=(),
    dtypes=("float16", "float32"),
    protocols=tuple(name.value for name in ProtocolName),
    space=operator_comparisons()["table1"].name,
    input_size="1024x2048",
    parameters=(),
    budget=Budget.NORMAL.value,
    shares=1,
    sample=50,
    architectures=30,
    at_once=30,
)
"""The check of docs/gpu.md: the space of the paper whose Table 1 is measured too. It uses few commands, because each takes up
to a minute to start on a cold disk. An interrupted command continues."""

REHEARSAL = replace(
    ON_A_GPU,
    device="cpu",
    dtypes=("float32",),
    input_size="64x64",
    parameters=("layers=3", "widths=4,", "base_channels=3"),
    budget=Budget.QUICK.value,
    shares=2,
    sample=8,
    architectures=8,
    at_once=8,
)
"""All parts that apply to a CPU, in a space of some 80 operators, each well below a tenth of a millisecond."""


def resolve(choices: Choices) -> Choices:
    """The checked choices, with the backends filled in.

    Raises:
        InvalidSpecError: a backend, space, size, parameter or number is not possible; names what is.
    """
    possible = [name for name in backend_names() if choices.device in device_kinds(name)]
    unknown = [name for name in choices.backends if name not in possible]
    if unknown:
        raise InvalidSpecError(
            f"backend {unknown[0]!r} does not run on {choices.device}", hint=f"These do: {', '.join(possible)}."
        )
    _require_bounds(choices, [_space(choices, dtype) for dtype in choices.dtypes])
    return replace(choices, backends=choices.backends or tuple(possible))


def _space(choices: Choices, dtype: Dtype) -> SearchSpace:
    """The space in that dtype. Raises InvalidSpecError."""
    return create_space(
        SpaceSpec.parse(
            {
                "name": choices.space,
                "input_size": parse_size(choices.input_size),
                "dtype": dtype,
                "parameters": dict(map(parse_parameter, choices.parameters)),
            }
        )
    )


def _require_bounds(choices: Choices, spaces: Sequence[SearchSpace]) -> None:
    """Raises InvalidSpecError for a number that some part cannot use."""
    bounds: dict[str, tuple[int, int | None]] = {
        "shares": (1, min(map(most_shares, spaces))),
        "sample": (1, min(len(space.operators()) for space in spaces)),
        "architectures": (FEWEST_NETWORKS, MOST_NETWORKS),
        "at_once": (1, None),
    }
    for name, (least, greatest) in bounds.items():
        value = getattr(choices, name)
        if value < least or (greatest is not None and value > greatest):
            option = f"--{name.replace('_', '-')}"
            limits = f"at least {least}" if greatest is None else f"from {least} to {greatest}"
            of_space = f" for {spaces[0].spec.label()}" if name in ("shares", "sample") else ""
            raise InvalidSpecError(f"{option} must be {limits}{of_space}, not {value}")


def settings_in_force(settings: Settings, *, without: frozenset[str] = frozenset()) -> dict[str, str]:
    """Settings that differ from the defaults, by variable, without settings of the box and of the parts."""
    changed = settings.model_dump(mode="json", exclude_defaults=True, exclude={*_OF_THE_BOX, *_OF_EACH_PART, *without})
    return {
        f"{ENVIRONMENT_PREFIX}{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in changed.items()
    }


def settings_that_count(settings: Settings) -> tuple[str, ...]:
    """Settings that may change a value, whether or not they are part of a table's target."""
    return tuple(f"{name}={value}" for name, value in settings_in_force(settings, without=_NO_NUMBER).items())


def keep(choices: Choices, folder: Path) -> None:
    """Write the choices to the folder, which holds results of only one set of choices.

    Raises:
        InvalidSpecError: the folder has results of other choices, which are named; or its file of choices is damaged.
    """
    path, mine = folder / FILE, json.loads(json.dumps(asdict(choices)))
    if path.exists():
        there = {"settings": []} | _read(path)  # older folders have no settings
        differing = [name for name in mine if name not in _FREE and mine[name] != there.get(name)]
        if differing:
            lines = "; ".join(f"{name}: {there.get(name)} there, {mine[name]} now" for name in differing)
            raise InvalidSpecError(f"{folder} holds results of other choices: {lines}", hint="Name another --output.")
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_text(json.dumps(mine, indent=2) + "\n")


def _read(path: Path) -> dict[str, Any]:
    try:
        noted = json.loads(path.read_bytes())
        if not isinstance(noted, dict):
            raise TypeError(f"a {type(noted).__name__}, not an object")
    except (ValueError, TypeError) as error:
        raise InvalidSpecError(
            f"{path} does not hold the choices of its folder: {error}", hint="Name another --output."
        ) from error
    return noted


_FREE = frozenset({"backends", "dtypes", "protocols"})
"""Choices that only decide which parts exist. They may differ from call to call."""
