"""`derive`: the networks that searched parameters stand for. Torch is imported when it runs: that takes seconds."""

from __future__ import annotations

import json as json_module
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table as Grid

from models.spec.errors import ExitCode
from models.terminal import Json, emit, warn
from nas_client.cli.arguments import TableSource, ValidationFolder, known_bias, load_table
from nas_client.cli.estimate import document, explain_missing
from nas_client.errors import ParameterError
from nas_client.search.objective import EXPONENT, TARGET_MS, objective

if TYPE_CHECKING:
    from models.spaces.base import SearchSpace
    from nas_client.estimates import Estimate
    from nas_client.search.derivation import Derived
    from nas_client.table import LookupTable

OWN_OPTIONS = {"ignore_unknown_options": True, "allow_extra_args": True}
"""For the command: what it does not know is an option of the search space, which is known once the table is read."""


def derive(
    context: typer.Context,
    table: TableSource,
    parameters: Annotated[
        Path | None, typer.Option(metavar="P", help="File with the logits of α, β and γ; needed without --perturb.")
    ] = None,
    alternative: Annotated[
        str | None,
        typer.Option(
            "--alternative",
            "--branches",
            metavar="LABEL",
            help="Which network to decode, such as 8,32 for FasterSeg's branches that end there; by default all that a search "
            "chooses from.",
        ),
    ] = None,
    accuracies: Annotated[
        Path | None,
        typer.Option(
            metavar="A", help='JSON file such as {"8,32": 0.71, …}: chooses the alternative with the best ACC·(LAT/T)^w.'
        ),
    ] = None,
    perturb: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Folder of a finished search, in place of --parameters: take in each row of α the operator without which the "
            "supernet's mIoU is lowest, instead of the most probable one.",
        ),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Images on which --perturb evaluates; by default selection.images of the search."
        ),
    ] = None,
    save_parameters: Annotated[
        Path | None, typer.Option(metavar="F", help="File for the logits that --perturb decides, to decode them again.")
    ] = None,
    target_ms: Annotated[
        float | None, typer.Option(metavar="T", help=f"T, the target latency in that formula; by default {TARGET_MS:g}.")
    ] = None,
    exponent: Annotated[
        float | None, typer.Option(metavar="W", help=f"w, the exponent in that formula; by default {EXPONENT:g}.")
    ] = None,
    role: Annotated[
        str | None, typer.Option(metavar="R", help="Role to decode for; by default the one that sees latency.")
    ] = None,
    teacher: Annotated[
        bool, typer.Option("--teacher", help="The same as --role teacher: the widest connections everywhere, γ ignored.")
    ] = False,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact", "--keep-skips", help="Keep every operator that is most probable, instead of removing or replacing skips."
        ),
    ] = False,
    text: Annotated[bool, typer.Option("--text", help="Print each network in words too, cell by cell.")] = False,
    validation: ValidationFolder = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Continue even if operators have no entry. Sums leave them out.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="F", help="File for the architecture. With several, their labels are added to its name."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Decode searched parameters into architectures, with their estimated latency, multiply-adds and parameters.

    A search space may have options of its own: `nas-client spaces` lists them.
    """
    if alternative is not None and accuracies is not None:
        raise typer.BadParameter("--alternative names a network, --accuracies chooses one; give one of the two")
    if accuracies is None and (target_ms is not None or exponent is not None):
        raise typer.BadParameter("--target-ms and --exponent belong to --accuracies, which is not given")
    if (parameters is None) == (perturb is None):
        raise typer.BadParameter("give one of --parameters, a file of logits, and --perturb, the folder of a search")
    if perturb is None and (images is not None or save_parameters is not None):
        raise typer.BadParameter("--images and --save-parameters belong to --perturb, which is not given")
    if teacher and role not in (None, "teacher"):
        raise typer.BadParameter(f"--teacher and --role {role} contradict each other; give one of the two")
    from models.spaces.registry import create_space
    from nas_client.cli import perturbation
    from nas_client.cli.decode_options import parse_options
    from nas_client.cli.firmness import Decisions
    from nas_client.cli.latency_options import read_parameters
    from nas_client.search.derivation import derive as derive_one

    found = load_table(table)
    space = create_space(found.info.space)
    options = parse_options(type(space), context.args, exact=exact)
    wanted_role = "teacher" if teacher else role
    whose = space.searched_role() if wanted_role is None else space.role(wanted_role)
    accuracy = {} if accuracies is None else _read_accuracies(accuracies, space)
    named = None if alternative is None else space.resolve_alternative(alternative)  # what is wrong with it is said at once
    wanted = [named] if named is not None else list(accuracy) or list(space.alternatives())
    removal = None if perturb is None else perturbation.perturbed(perturb, found, whose, images)
    if removal is not None:
        logits = removal.decided
        if save_parameters is not None:
            save_parameters.write_text(json_module.dumps(logits.to_json()) + "\n", encoding="utf-8")
    else:
        assert parameters is not None
        logits = read_parameters(parameters, space, widest=whose.widest)
    bias = known_bias(table, found, validation)
    derived = [derive_one(logits, found, alternative=label, role=whose, options=options, bias=bias) for label in wanted]
    labels, searched = [network.alternative for network in derived], None if removal is None else removal.searched
    decisions = Decisions.of(logits, space, labels, role=whose, options=options, searched=searched)
    complete = allow_missing or not any(network.estimate.missing for network in derived)
    values = {
        network.alternative: objective(
            accuracy[network.alternative],
            network.estimate.sum_ms,
            target_ms=TARGET_MS if target_ms is None else target_ms,
            exponent=EXPONENT if exponent is None else exponent,
        )
        for network in derived
        if accuracy and complete
    }
    chosen = max(values, key=values.__getitem__) if values else None
    paths = _write(derived, chosen, output) if output is not None and complete else {}
    result = {
        "architectures": [
            {
                "alternative": network.alternative,
                "architecture": network.architecture.model_dump(mode="json"),
                "estimate": document(network.estimate),
                "macs": network.costs.macs,
                "flops": network.costs.flops,
                "parameters": network.costs.parameters,
                "accuracy": accuracy.get(network.alternative),
                "objective": values.get(network.alternative),
                "path": paths.get(network.alternative),
                "deciding_rows": decisions.rows[network.alternative],
                **({"text": space.describe(network.architecture)} if text else {}),
            }
            for network in derived
        ],
        "chosen": chosen,
        **decisions.document(),
        **({} if removal is None else {"perturbation": perturbation.document(removal)}),
        "verdict": found.verdict.model_dump(mode="json"),
    }

    def show(console: Console) -> None:
        _show(console, space, derived, accuracy, values, chosen, paths)
        decisions.show(console)
        if removal is not None:
            perturbation.show(console, space, removal)
        for network in derived if text else ():
            console.print("", *[f"{space.alternatives_label} {network.alternative}:"] * bool(network.alternative), sep="\n")
            console.print("\n".join(space.describe(network.architecture)), markup=False)

    emit(result, as_json=json, text=show)
    warn(found.verdict, found.label())
    decisions.warn()
    _explain(derived, found)
    if not complete:
        raise typer.Exit(ExitCode.BAD_INPUT)


def _read_accuracies(path: Path, space: SearchSpace) -> dict[str, float]:
    """Accuracy by alternative. Raises ParameterError; InvalidSpecError for an alternative that there is not."""
    try:
        data = json_module.loads(path.read_bytes())
    except ValueError as error:
        raise ParameterError(f"{path}: not a JSON document: {error}", hint="Check that the file is complete.") from error
    if not isinstance(data, dict) or not data:
        raise ParameterError(f"{path}: an object of accuracies by alternative is needed", hint='Such as {"8,32": 0.71}.')
    for label, value in data.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ParameterError(f"{path}: the accuracy of {label!r} is {value!r}, not a number")
    accuracies = {space.resolve_alternative(label): float(value) for label, value in data.items()}
    if len(accuracies) < len(data):
        raise ParameterError(f"{path}: an alternative is named twice, in two spellings")
    return accuracies


def _write(derived: list[Derived], chosen: str | None, output: Path) -> dict[str, str]:
    """Write the chosen architecture, or all; returns the path of each that was written."""
    written = [network for network in derived if chosen in (None, network.alternative)]
    paths = {}
    for network in written:
        suffix = "" if len(written) == 1 else "-" + re.sub(r"[^\w.]+", "-", network.alternative)
        path = output.with_stem(output.stem + suffix)
        path.write_text(network.architecture.model_dump_json(indent=2) + "\n")
        paths[network.alternative] = str(path)
    return paths


def _show(
    console: Console,
    space: SearchSpace,
    derived: list[Derived],
    accuracy: dict[str, float],
    values: dict[str, float],
    chosen: str | None,
    paths: dict[str, str],
) -> None:
    grid = Grid(box=None, pad_edge=False)
    headings = [
        space.alternatives_label,
        "size",
        "estimate\n(ms)",
        "95 % interval\n(ms)",
        "multiply-\nadds (G)",
        "parameters\n(M)",
        *["accuracy", "objective"] * bool(values),
    ]
    for index, heading in enumerate(headings):
        grid.add_column(heading, justify="right" if index else "left", no_wrap=True)
    for network in derived:
        label = network.alternative
        size = space.choices_of(network.architecture).size
        costs = network.costs
        row = [
            label or "all",
            size,
            f"{network.estimate.sum_ms:.4f}",
            _interval(network.estimate),
            f"{costs.macs / 1e9:.3f}",
            f"{costs.parameters / 1e6:.3f}",
        ]
        grid.add_row(*row, *([f"{accuracy[label]:.4f}", f"{values[label]:.4f}"] if values else []))
    console.print(grid)
    if chosen is not None:
        console.print(f"chosen: {chosen}")
    for path in paths.values():
        console.print(f"written to {path}", markup=False)


def _interval(estimate: Estimate) -> str:
    """Of the sum alone, and marked as such, unless a validation is known."""
    if (certainty := estimate.uncertainty) is None:
        return "unknown"
    low, high = certainty.interval_ms
    return f"{low:.4f} to {high:.4f}" + (" (sum alone)" if certainty.kind == "statistical" else "")


def _explain(derived: list[Derived], table: LookupTable) -> None:
    terms = {term.operator.key(): term for network in derived for term in network.estimate.terms}
    if any(term.ms is None for term in terms.values()):
        explain_missing(list(terms.values()), table)
