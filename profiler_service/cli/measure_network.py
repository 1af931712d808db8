"""`measure`: a network of one's own, an ONNX file or a torch module, or one operator, on the clock of the tables."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console

from models.spec.errors import ExitCode, InvalidSpecError
from models.spec.measurements import Budget, Flag, Measurement, Status
from models.spec.operator_labels import is_label, parse_label
from models.terminal import Json, Require, emit, end_unless, people, progress, warn
from profiler_service.cli.arguments import Backend, BudgetOption, Core, Database, Threads, WaitForQuiet
from profiler_service.cli.runtime import measuring_settings, open_existing_store, open_workers
from profiler_service.errors import EmptyDatabaseError

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.spec.graphs import OwnNetwork
    from models.spec.scale import Scale
    from models.spec.targets import TargetSpec
    from profiler_service.jobs.own_network import NetworkMeasurement
    from profiler_service.jobs.workers import Workers
    from profiler_service.settings import Settings

Found = TypeVar("Found")


def measure_network(
    network: Annotated[
        str,
        typer.Argument(
            metavar="NETWORK",
            help="ONNX file; torch module as package.module:Net; or operator as 'conv3x3 64->96 @128x256 /2 NAME=VALUE'.",
        ),
    ],
    input_shape: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="NxCxHxW",
            help="Shape of the input, such as 1x3x512x1024. Required for a module, and for a file that leaves sides open.",
            show_default="as in the file",
        ),
    ] = None,
    backend: Backend = None,
    database: Database = None,
    budget: BudgetOption = Budget.NORMAL,
    threads: Threads = None,
    core: Core = None,
    wait_for_quiet: WaitForQuiet = None,
    layers: Annotated[
        bool,
        typer.Option("--layers/--no-layers", help="Also measure each of its layers in context, as far as its graph divides."),
    ] = True,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="DIR", help="Write measurement.json, layers.csv and layers.svg into this folder."
        ),
    ] = None,
    require: Require = None,
    json: Json = False,
) -> None:
    """Measure a network of your own, or one operator, on this machine. A module is imported: name only code that you trust."""
    from profiler_service.cli.layer_report import require_plotting, write_report
    from profiler_service.cli.local_jobs import Start, interrupted_by_signals
    from profiler_service.cli.measure_operator import measure_operator

    settings = measuring_settings(backend=backend, database=database, threads=threads, core=core)
    if is_label(network) and not Path(network).exists():
        if input_shape is not None or output is not None:
            raise typer.BadParameter("--input and --output are for networks; an operator's label says its shapes")
        measure_operator(parse_label(network), settings, budget, Start(wait_for_quiet), require, as_json=json)
        return
    if output is not None:
        require_plotting()
    shape = None if input_shape is None else parse_shape(input_shape)
    with TemporaryDirectory(prefix="opclock-") as directory:
        folder = Path(directory)
        described, onnx_path = _described(network, shape, folder)
        with interrupted_by_signals() as interrupted:
            Start(wait_for_quiet).begin(settings, interrupted.is_set)
            settings = settings.model_copy(update={"cache_dir": folder})  # a module's graph must not outlive its code
            found = _measure(described, onnx_path, settings, budget, interrupted.is_set, layers=layers)
        if found is None:
            people().print("interrupted before there was a value; nothing was saved")
            raise typer.Exit(128 + signal.SIGINT)
    emit(found, as_json=json, text=lambda console: _show(console, found))
    if output is not None:
        write_report(found, output)
    if found.status is Status.OK:
        warn(found.verdict(), of=found.network.label())
    if interrupted.is_set() and found.status is Status.OK:
        raise typer.Exit(128 + signal.SIGINT)
    failed_layers = found.layers is not None and any(layer.status is not Status.OK for layer in found.layers.layers)
    if found.status is not Status.OK or failed_layers:
        raise typer.Exit(int(ExitCode.WORKLOADS_FAILED))
    end_unless(found.verdict(), require)


def parse_shape(text: str) -> tuple[int, int, int, int]:
    """`1x3x512x1024` as (batch, channels, height, width). Raises InvalidSpecError."""
    try:
        n, c, h, w = (int(part) for part in text.lower().replace("×", "x").split("x"))
    except ValueError as error:
        raise InvalidSpecError(
            f"--input {text!r} is not NxCxHxW", hint="Write it as 1x3x512x1024: images, channels, height, width."
        ) from error
    return n, c, h, w


def _described(network: str, shape: tuple[int, int, int, int] | None, folder: Path) -> tuple[OwnNetwork, Path | None]:
    """What to measure, and the ONNX file to build, in that folder; None for a module.

    Raises:
        InvalidSpecError: the file or its network cannot be measured; or a module has no shape.
    """
    from models.export.own_network import read_network
    from models.spec.graphs import OwnNetwork

    package, colon, name = network.partition(":")
    if colon and not Path(network).exists():
        if not all(part.isidentifier() for part in (*package.split("."), name)):
            raise InvalidSpecError(
                f"{network!r} is neither a file nor package.module:Net", hint="Give an ONNX file, or where the module is."
            )
        if shape is None:
            raise InvalidSpecError(f"{network} needs --input", hint="Say the shape of its input: --input 1x3x512x1024.")
        sys.path.insert(0, str(Path.cwd()))  # worker processes take it over
        return OwnNetwork.parse({"name": network, "input_shape": shape}), None
    described, data = read_network(Path(network), shape)
    path = folder / "network.onnx"
    path.write_bytes(data)
    return described, path


def _measure(
    network: OwnNetwork,
    onnx_path: Path | None,
    settings: Settings,
    budget: Budget,
    stopped: Callable[[], bool],
    *,
    layers: bool,
) -> NetworkMeasurement | None:
    """The measurement, with the device held; None if it was stopped before.

    Raises:
        InvalidSpecError: the backend does not run such networks.
        OpclockError: as `OwnNetworkJob.run`.
    """
    from models.spec.graphs import GraphRequest
    from profiler_service.backends.base import GraphArtifact
    from profiler_service.jobs.context import LiveLimits
    from profiler_service.jobs.own_network import OwnNetworkJob
    from profiler_service.measure.stopping import BUDGETS

    def run(workers: Workers, scale: Scale | None, on_phase: Callable[[str], None]) -> NetworkMeasurement | None:
        artifact = None if onnx_path is None else GraphArtifact(GraphRequest(subject=network), onnx_path=onnx_path)
        job = OwnNetworkJob(
            network,
            artifact,
            workers=workers,
            budget=BUDGETS[budget],
            reference_ms=None if scale is None else scale.reference_ms,
            unsettled="" if scale is None else scale.unsettled,
            layers_folder=settings.cache_dir if layers else None,
            stopped=stopped,
            limits=LiveLimits.now(settings, workers),
            on_phase=on_phase,
        )
        return job.run()

    with open_workers(settings) as workers:
        description = workers.description
        if onnx_path is not None and not description.reads_onnx:
            raise InvalidSpecError(
                f"backend {settings.backend!r} runs torch modules, not ONNX files",
                hint="Name the module as package.module:Net, or choose --backend onnxruntime.",
            )
        return with_device(workers, settings, stopped, run)


def with_device(
    workers: Workers,
    settings: Settings,
    stopped: Callable[[], bool],
    run: Callable[[Workers, Scale | None, Callable[[str], None]], Found | None],
) -> Found | None:
    """What `run` gives, called with the workers, the target's scale (None where it has none), and what shows the phase, while
    the device is held; None if it was stopped before.
    """
    from profiler_service.jobs.device_lock import device_lock

    target = workers.description.target
    scale = _scale(settings, target)
    with (
        device_lock(
            target.device,
            on_wait=lambda holder: people().print(f"waiting for the device: {holder} measures on it", markup=False),
            stopped=stopped,
            directory=settings.lock_dir,
        ) as held,
        progress() as bar,
    ):
        if not held:
            return None
        task = bar.add_task("measuring", total=None, note="")
        return run(workers, scale, lambda phase: bar.update(task, note=phase))


def _scale(settings: Settings, target: TargetSpec) -> Scale | None:
    """The scale that the tables of that target share; None if there is none."""
    if isinstance(settings.database, Path) and not settings.database.exists():
        return None
    try:
        store = open_existing_store(settings)
    except EmptyDatabaseError:
        return None
    with store:
        scales = [table.info.scale for table in store.tables() if table.info.target.id() == target.id()]
    return next((scale for scale in scales if scale is not None), None)


def _show(console: Console, found: NetworkMeasurement) -> None:
    from profiler_service.cli.layer_report import show_layers

    console.print(f"{found.network.label()}, on {found.target.label()}", markup=False)
    if found.value_ms is None or found.stderr_ms is None:
        console.print(f"{found.status.value}: {found.message}", style="red", markup=False)
        return
    show_times(console, found, found.reference_ms)
    if found.checked:
        console.print(f"the output is the torch module's, within {found.output_error:.2g} (relative L2)")
    else:
        console.print("the output was not checked: an ONNX file has nothing to compare it with")
    show_layers(console, found)
    show_flags(console, found.flags)


def show_times(console: Console, found: NetworkMeasurement | Measurement, reference_ms: float | None) -> None:
    """Print a value, its error, single runs, and what milliseconds these are."""
    console.print(f"{found.value_ms:.4f} ± {found.stderr_ms:.2g} ms from {found.samples} runs in {found.rounds} rounds")
    tail = "" if found.p95_ms is None else f", 95th percentile {found.p95_ms:.4f}"
    console.print(f"single runs: median {found.median_ms:.4f}, fastest {found.min_ms:.4f}{tail} ms")
    if reference_ms is None:
        console.print("plain milliseconds: this target has no scale yet; `profiler-service profile` sets it", style="yellow")
    else:
        console.print(f"on the scale of this target's tables; {found.plain_ms:.4f} ms by the clock")


def show_flags(console: Console, flags: tuple[Flag, ...]) -> None:
    """Print what limits a measurement, where something does."""
    if flags:
        console.print("flags: " + ", ".join(flag.value for flag in flags), style="yellow")
    if Flag.CONTAMINATED in flags:
        console.print("other work disturbed it; measure again on a quiet machine (--wait-for-quiet)", style="yellow")
