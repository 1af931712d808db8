"""What a selection follows from, and its folder's beginning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models.spaces.base import SearchSpace
from models.spec.architectures import ArchitectureSpec
from models.spec.base import Record, differences, digest
from models.spec.errors import InvalidSpecError
from models.spec.table_files.table_io import table_etag
from nas_client.errors import CheckpointError
from nas_client.runs.config import read_config, write_config
from nas_client.runs.manifest import CONFIG, RESULT, begin_run, is_begun, require_run
from nas_client.runs.processes import Processes
from nas_client.search.config import SearchConfig
from nas_client.search.outcome import SearchResult
from nas_client.selection.candidates import Candidate
from nas_client.table import LookupTable

INPUTS = "inputs.json"

CHANGEABLE = ("selection", "evaluation", "workers", "target_ms", "exponent")
"""Fields of a search's configuration that a selection from it may have otherwise."""


class Inputs(Record):
    """What a selection follows from; it is resumed with the same.

    Attributes:
        config: of the search, as it is for this selection.
        table, etag: id of the table, and of its contents.
        supernet: digest of the weights.
        rerank: whether the best are trained shortly.
        scored_by: digest of all that accuracies follow from. Selections of the same share them.
    """

    config: SearchConfig
    table: str
    etag: str
    supernet: str
    rerank: bool
    scored_by: str


def selection_config(run: Path, overrides: Sequence[str] = ()) -> SearchConfig:
    """The configuration of a search, with overrides of what a selection may change.

    Raises:
        RunFolderError: the folder holds no search.
        InvalidSpecError: an override is of another field; or of more images than the weights were kept from.
    """
    require_run(run, "search")
    own = read_config(SearchConfig, run / CONFIG)
    config = read_config(SearchConfig, run / CONFIG, overrides)
    kept = {name: getattr(config, name) for name in CHANGEABLE}
    if lines := differences(config, own.model_copy(update=kept)):
        raise InvalidSpecError(
            f"{'; '.join(lines)}: a selection has these from its search", hint=f"Set fields of {', '.join(CHANGEABLE)}."
        )
    if own.method == "evolution" and config.selection.images > own.selection.images:
        raise InvalidSpecError(
            f"selection.images: {config.selection.images}; the search kept {own.selection.images} images from its supernet",
            hint=f"Take {own.selection.images} or fewer.",
        )
    return config


def inputs_of(
    config: SearchConfig, table: LookupTable, supernet: str, *, role: str, images: Sequence[int], rerank: bool
) -> Inputs:
    """The inputs of a selection.

    Args:
        config: as it is for this selection.
        table: by which latencies are estimated.
        supernet: digest of its weights.
        role: whose stem and head candidates have.
        images: of selection, by their indices.
        rerank: whether the best are to be trained shortly.
    """
    scored_by = {
        "supernet": supernet,
        "role": role,
        "images": list(images),
        **config.model_dump(mode="json", include={"data", "image_scale", "scales", "seed", "precision"}),
        "pretrain": config.pretrain.model_dump(mode="json", include={"batch_size", "crop"}),
        "statistics_batches": config.evaluation.statistics_batches,
    }
    return Inputs(
        config=config,
        table=table.info.id(),
        etag=table_etag(table.table),
        supernet=supernet,
        rerank=rerank and bool(config.selection.shortlist),
        scored_by=digest("scores", scored_by),
    )


def read_inputs(folder: Path) -> Inputs | None:
    """Those of the selection in a folder; None where there is none.

    Raises:
        InvalidSpecError: the file is damaged.
    """
    path = folder / INPUTS
    return Inputs.parse_json(path.read_bytes(), source=str(path)) if path.exists() else None


def require_space_of(run: Path, space: SearchSpace, role: str) -> None:
    """Make sure that the networks that a search found are of that space, whatever its input size, batch and data type. Weights
    alone do not tell: SiLU in place of ReLU has the same.

    Raises:
        CheckpointError: they are not; names what differs.
        InvalidSpecError: the result of the search is damaged.
    """
    if not (path := run / RESULT).exists():
        return
    for found in SearchResult.parse_json(path.read_bytes(), source=str(path)).candidates.get(role, ()):
        try:
            space.plan(_resized(found.architecture, space))
        except InvalidSpecError as error:
            raise other_space(run, space, error.message) from error


def own_network(candidate: Candidate, space: SearchSpace, run: Path) -> ArchitectureSpec:
    """The network of a candidate that another selection from the same search found, at this space's input size.

    Raises:
        CheckpointError: it would be another network; names what differs.
    """
    for granularity, counts in space.row_counts.items():
        rows = candidate.choices.rows(granularity)
        if len(rows) != len(counts) or any(choice >= count for choice, count in zip(rows, counts, strict=True)):
            raise other_space(run, space, f"{granularity} has other rows, or rows of other choices")
    try:
        before = space.completed(_resized(candidate.architecture, space))
        network = space.network_of(candidate.choices)
    except InvalidSpecError as error:
        raise other_space(run, space, error.message) from error
    if lines := differences(network, before):
        raise other_space(run, space, "; ".join(lines))
    return network


def _resized(architecture: ArchitectureSpec, space: SearchSpace) -> ArchitectureSpec:
    spec = space.spec
    return architecture.model_copy(update={"input_size": spec.input_size, "batch": spec.batch, "dtype": spec.dtype})


def other_space(run: Path, space: SearchSpace, why: str) -> CheckpointError:
    """A search had another space than the table of a selection."""
    return CheckpointError(
        f"{run}: its supernet is not that of {space.spec.label()}: {why}",
        hint="Take a table of the search space that the search had; only input size, batch and data type may differ.",
    )


def begin(folder: Path, inputs: Inputs, processes: Processes, *, resume: bool) -> None:
    """Begin a selection's folder, or make sure that the selection there has the same inputs.

    Raises:
        RunFolderError: the folder holds another kind of run.
        CheckpointError: it holds a selection and `resume` is not set, or one of other inputs; names what differs.
        ProcessesError: processes were given different inputs.
        OSError: it cannot be written.
    """
    begun, before = is_begun(folder), read_inputs(folder)  # read by all before one writes
    processes.require_same(f"whether {folder} holds a selection", str(begun))
    processes.require_same("the selection", inputs.model_dump_json())
    if begun:
        require_run(folder, "selection")
        if not resume:
            raise CheckpointError(
                f"{folder} already holds a selection", hint="Go on with it by --resume, or name another folder."
            )
    if before is not None:
        if lines := differences(inputs, before):
            raise CheckpointError(
                f"{folder} holds a selection of other inputs: {'; '.join(lines)}",
                hint="Resume with what it was started with, or name another folder.",
            )
    elif processes.is_main:
        begin_run(folder, "selection")
        write_config(inputs.config, folder / CONFIG)
        (folder / INPUTS).write_text(inputs.model_dump_json(indent=2) + "\n", encoding="utf-8")
    processes.wait()
