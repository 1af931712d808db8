"""The reference page of files, from the records that are written and the search space that names parameters."""

from __future__ import annotations

from typing import get_args

from models.spaces.fasterseg.genotype import BranchSpec, NetworkParameters
from models.spaces.registry import create_space, space_class
from models.spec.architectures import ArchitectureSpec
from models.spec.base import Record
from models.spec.table_cards import TableCard, TableQuality
from models.spec.table_files import TableFormat
from nas_client.experiments.registry import EXPERIMENTS
from nas_client.runs.manifest import FORMAT, RUN, Kind, RunManifest
from nas_client.validation.calibration import Calibration, CalibrationFile
from profiler_service import raw_data
from scripts.column_docs import grid, record_fields
from scripts.reference_markup import MADE, code, page, prose

SPACE = "fasterseg"
"""Whose parameters are the example."""

_WRITTEN_BY = {
    "search": ("`nas-client search`", "[What a run leaves](../search.md#what-a-run-leaves)"),
    "selection": ("`nas-client select`, or a search by evolution", "[Selection](../search.md#select-by-evolution)"),
    "training": ("`nas-client train`", "[The folder of a training](../training.md#the-folder-of-a-training)"),
    "evaluation": ("`nas-client evaluate`", "[Train, evaluate, export](../training.md)"),
    "validation": ("`nas-client validate`", "[Validate a table](../validate.md)"),
    "attention": ("`nas-client experiment attention`", "[M-FasterSeg](../mfasterseg.md#the-experiment)"),
}
"""By the kind of run; experiments that are not named are described where all are."""


def written_by(kind: str) -> tuple[str, str]:
    """The command that writes a kind of run, and where it is described. Raises KeyError for a kind that is neither named in
    `_WRITTEN_BY` nor an experiment.
    """
    experiments = {
        experiment.name: (f"`nas-client experiment {experiment.name}`", "[Experiments](../experiments.md)")
        for experiment in EXPERIMENTS
    }
    return (experiments | _WRITTEN_BY)[kind]


def _fields(record: type[Record]) -> str:
    rows = ((name, unit, prose(text)) for name, unit, text in record_fields(record))
    return grid(("field", "unit", "meaning"), rows)


def _shapes() -> str:
    """The groups of each granularity, with rows and choices."""
    shapes = create_space(space_class(SPACE).defaults().spec).parameter_shapes()
    rows = [
        (code(name), ", ".join(f"`{group}`: {rows}×{choices}" for group, (rows, choices) in groups.items()))
        for name, groups in shapes.items()
    ]
    return grid(("granularity", "groups: rows×choices"), rows)


def files_page() -> str:
    """docs/reference/files.md."""
    formats = ", ".join(code(member.value) for member in TableFormat)
    parts = [
        "# Files",
        MADE.format(source="the records' docstrings and `scripts/reference_files.py`"),
        "## Tables",
        f"`profiler-service export` and `nas-client pull` write tables as {formats}. [Columns](../columns.md) lists every "
        "column. A table file carries the whole identity of the table (target, space, protocol) and every field of every "
        "measurement, floats exactly. A `.npy` table loads with `np.load(path)` as a record array, without pickle.",
        f"Exported samples, version {raw_data.SAMPLES_VERSION}, are described under [Samples](../columns.md#samples).",
        "## Cards of published tables",
        f"`profiler-service publish` writes a card, version {TableCard.model_fields['version'].default}, beside each table; "
        "see [Publish a table](../publish.md).",
        _fields(TableCard),
        "Fields of `quality`:",
        _fields(TableQuality),
        "## `logits.json`: architecture parameters",
        "The file holds α, β and γ by granularity and group: a list of rows for each group, unnormalised. Groups, rows and "
        f"choices are the search space's. Those of `{SPACE}` with its default parameters are FasterSeg's checkpoint's:",
        _shapes(),
        "- Row r of α at scale j is layer r + j, j counting the scales from 0.\n"
        "- Row r of β is layer r + j + 1, in the order (from the finer scale, kept).\n"
        "- The rows of γ are the maps that enter layer r + 1 (scales 8, 16) or r + 2 (scale 32).\n"
        "- Operators are in the order skip, conv3x3, zoomed_conv3x3, conv3x3_x2, zoomed_conv3x3_x2.\n"
        "- Widths are in ascending order, in twelfths.",
        "`derive` and `loss` also read FasterSeg's own files, `arch_0.pt` and `arch_1.pt`, and run nothing that they name.",
        "## `student.json`: an architecture",
        _fields(ArchitectureSpec),
        f"The `parameters` of `{SPACE}`:",
        _fields(NetworkParameters),
        f"The `genotype` of `{SPACE}` has one list, `branches`. Each of them:",
        _fields(BranchSpec),
        "Files of earlier releases, which have these fields and the branches beside the others, are read everywhere.",
        "## `calibration.json`",
        f"`nas-client validate` writes it, version {CalibrationFile.model_fields['version'].default}; `estimate` reads it.",
        _fields(CalibrationFile),
        "Fields of `calibration`:",
        _fields(Calibration),
        f"## `{RUN}` and run folders",
        f"Every folder that a command writes says in `{RUN}`, format {FORMAT}, what it holds. Nothing else decides what a "
        "folder is.",
        _fields(RunManifest),
        grid(("kind", "written by", "described in"), [(code(kind), *written_by(kind)) for kind in get_args(Kind)]),
    ]
    return page(parts)
