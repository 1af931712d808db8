"""`train`: one network, alone or under a teacher. What it trains with is imported when it runs: that takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from models.spec.architectures import ArchitectureSpec
from models.terminal import Json, emit, progress
from nas_client.cli.arguments import INTERRUPTED, ConfigFile, Overrides, Resume, RunFolder, load_table, say

if TYPE_CHECKING:
    from nas_client.train.config import TrainConfig
    from nas_client.train.folder import EpochRecord, TrainResult
    from nas_client.train.run import Start


def train(
    output: RunFolder,
    architecture: Annotated[
        Path | None, typer.Option(metavar="A", help="JSON file with the architecture. With --resume, by default the run's own.")
    ] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    teacher: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Folder of a training whose best weights teach this network.")
    ] = None,
    supernet: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Folder of a search whose supernet provides the first weights; needs --table."),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(metavar="F", help="The table of that search: a file, its URL on a service, or a published name."),
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(help="Role for which the search decoded the architecture; by default the one that saw latency."),
    ] = None,
    pretrained: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Folder of a training of the same architecture, whose weights this starts with, but for the classifier.",
        ),
    ] = None,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Train a network. With --teacher it also learns to match the teacher's predictions.

    SIGTERM or Ctrl-C ends the training after the current step and saves it. --resume continues from there. Several processes,
    started by torchrun or accelerate launch, share each batch.
    """
    from nas_client.runs.processes import Processes
    from nas_client.train.folder import load_trained
    from nas_client.train.run import train as run_training

    if architecture is None and not resume:
        raise typer.BadParameter("--architecture is needed, or --resume")
    if (supernet is None) != (table is None):
        raise typer.BadParameter("--supernet and --table go together: the table says which space the search was in")
    if role is not None and supernet is None:
        raise typer.BadParameter("--role belongs to --supernet, which is not given")
    if supernet is not None and pretrained is not None:
        raise typer.BadParameter("--supernet and --pretrained exclude each other: both give the first weights")
    network, chosen = _network_and_config(architecture, config, overrides or [], output, resume)
    with Processes() as processes, progress() as bar:
        speaks = processes.is_main
        if speaks and resume:
            _say_of_classes(output)
        task = bar.add_task("epochs", total=chosen.epochs, note="", visible=speaks)

        def checking(done: int, images: int) -> None:
            bar.update(task, description="checking images", completed=done, total=images)

        def watch(record: EpochRecord) -> None:
            if speaks:
                bar.update(task, description="epochs", completed=record.epoch, total=chosen.epochs)
                bar.console.print(_line(record, chosen.epochs), markup=False)

        result = run_training(
            network,
            chosen,
            output,
            teacher=None if teacher is None else load_trained(teacher),
            start=_start(supernet, table, role, pretrained, network),
            resume=resume,
            watch=watch,
            processes=processes,
            checking=checking,
        )
    if speaks:
        emit(result, as_json=json, text=lambda console: _show(console, result, output))
    if not result.finished:
        if speaks:
            say(f"stopped and saved after step {result.steps}; the same command with --resume continues")
        raise typer.Exit(INTERRUPTED)


def _network_and_config(
    architecture: Path | None, config: Path | None, overrides: list[str], output: Path, resume: bool
) -> tuple[ArchitectureSpec, TrainConfig]:
    """What is named; where a training is resumed, what its folder says of whatever is not."""
    from models.spaces.registry import space_class
    from nas_client.runs.config import read_config
    from nas_client.train.config import TrainConfig
    from nas_client.train.folder import read_architecture as trained_architecture
    from nas_client.train.folder import read_train_config, require_begun

    if resume:
        require_begun(output)
    network = trained_architecture(output) if architecture is None else _architecture_in(architecture)
    if resume and config is None and not overrides:
        return network, read_train_config(output)
    defaults = space_class(network.space).search_defaults.training.model_dump()
    return network, read_config(TrainConfig, config, overrides, base=defaults)


def _architecture_in(path: Path) -> ArchitectureSpec:
    from models.spaces.registry import read_architecture

    return read_architecture(path.read_bytes(), str(path))


def _say_of_classes(output: Path) -> None:
    from nas_client.runs.checkpoints import Checkpoints
    from nas_client.train.folder import LAST
    from nas_client.train.trained_classes import CLASSES

    if Checkpoints(output).path(LAST).exists() and not (output / CLASSES).exists():
        say(f"{output} has no {CLASSES}, since an earlier release began it: whether the classes changed since is not known")


def _start(
    supernet: Path | None, table: str | None, role: str | None, pretrained: Path | None, architecture: ArchitectureSpec
) -> Start | None:
    from nas_client.train.folder import load_trained
    from nas_client.train.transfer import pretrained_weights

    if pretrained is not None:
        return pretrained_weights(load_trained(pretrained), architecture)
    return None if supernet is None or table is None else _first_weights(supernet, table, role, architecture)


def _first_weights(folder: Path, table: str, role: str | None, architecture: ArchitectureSpec) -> Start:
    from models.spaces.registry import create_space
    from nas_client.search.first_weights import supernet_weights

    space = create_space(load_table(table).info.space)
    return supernet_weights(folder, space, role or space.searched_role().name, architecture)


def _line(record: EpochRecord, epochs: int) -> str:
    terms = {"auxiliary": record.auxiliary, "distillation": record.distillation}
    parts = [f"{name} {value:.3f}" for name, value in {"segmentation": record.segmentation, **terms}.items() if value]
    line = f"epoch {record.epoch}/{epochs}: loss {record.loss:.3f} ({', '.join(parts)})"
    if record.validation is not None:
        line += f", mIoU {_percent(record.validation.mean_iou)}{', the best so far' if record.best else ''}"
    return f"{line}, {record.seconds:.1f} s"


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:.2%}"


def _show(console: Console, result: TrainResult, output: Path) -> None:
    console.print(f"{result.epochs} epochs, {result.steps} steps")
    if result.best is not None and result.final is not None:
        best, final = _percent(result.best.mean_iou), _percent(result.final.mean_iou)
        console.print(f"mIoU on validation: best {best} after epoch {result.best_epoch}, at the end {final}")
    console.print(f"the training is in {output}", markup=False)
