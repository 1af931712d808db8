"""Parts that measure networks, over HTTP as a search does: the published student, and random ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from models.spaces.registry import read_architecture
from models.spec.measurements import ProtocolName
from models.terminal import parse_size
from profiler_service.gpu_check.bench import Bench, PartError, SkipPartError
from profiler_service.gpu_check.choices import FEWEST_NETWORKS
from profiler_service.gpu_check.table_parts import MEASURED, measured_table, table_part

PEARSON_AIM, MAPE_AIM = {"cuda": 0.998, "cpu": 0.999}, {"cuda": 0.03, "cpu": 0.02}
"""DESIGN's aims for sums that nothing was fitted to."""

PAPER_MS, PAPER = 6.10, "FasterSeg's student: 6.10 ms, 163.9 FPS on a GTX 1080 Ti with TensorRT 5.1.5, 1024×2048"


def student(bench: Bench, backend: str, dtype: str, reference: Path) -> None:
    """The student as its authors published it: measured, and estimated from every table there is."""
    choices = bench.choices
    if not choices.default_space:
        parameters = ", ".join(parameter.removesuffix(",") for parameter in choices.parameters)
        raise SkipPartError(f"the published student is not of a space with {parameters}")
    source = reference / choices.space / "student.json"
    if not source.is_file():
        raise SkipPartError(f"no published student at {source}; --reference names the folder that holds {choices.space}/")
    tables = finished_tables(bench, backend, dtype)
    published = read_architecture(source.read_bytes(), str(source))
    network = published.model_copy(update={"input_size": parse_size(choices.input_size), "dtype": dtype})
    path = bench.folder / "student.json"
    path.write_text(network.model_dump_json(indent=2) + "\n")
    with bench.service(backend) as url:
        options = [option for table_id in tables.values() for option in ("--table", table_id)]
        arguments = ("--url", url, "--architecture", path, "--budget", choices.budget, *options)
        ended = bench.run("measure", "nas-client", "measure", *arguments, "--json", accepts=MEASURED)
    if ended.document is None:
        raise PartError("the measurement left no document")
    bench.summary = {"paper": PAPER, **ended.document}
    rows = ended.document["tables"]
    failed = [row["message"] for row in rows if row["measured_ms"] is None and not row["refused"]]
    measured = sum(row["measured_ms"] is not None for row in rows)
    bench.check("the student is measured", measured > 0 and not failed, "; ".join(failed) or f"under {measured} protocols")


def validation(bench: Bench, backend: str, dtype: str) -> None:
    """Random networks against the sums of every finished table of this backend and dtype, and against multiply-adds."""
    choices = bench.choices
    tables = finished_tables(bench, backend, dtype)
    options = [option for table_id in tables.values() for option in ("--table", table_id)]
    sizes = ("--space", choices.space, "--input-size", choices.input_size)
    with bench.service(backend) as url:
        for count in steps(choices.architectures, choices.at_once):
            arguments = ("--url", url, *sizes, *options, "--architectures", count, "--budget", choices.budget)
            command = ("nas-client", "validate", *arguments, "-o", bench.folder / "report", "--json")
            ended = bench.run(f"validate-{count}", *command, accepts=MEASURED)
            if ended.refusal:
                raise PartError(ended.refusal)
            bench.summary = {"measured": count}
    scores = _scores(bench.folder / "report", next(iter(tables)), ended.document)
    bench.summary = {"networks": ended.document["architectures"], "repeatability": ended.document["repeatability"], **scores}
    raw = scores["protocols"][next(iter(tables))]["raw"]
    device = choices.device
    bench.check(
        "networks", ended.returncode == 0, f"{ended.document['architectures']} of {choices.architectures} were validated"
    )
    detail = f"{raw['pearson']:.4f}; {PEARSON_AIM[device]} is aimed at"
    bench.check("Pearson of the plain sum", raw["pearson"] >= PEARSON_AIM[device], detail, aim=True)
    detail = f"{raw['mape']:.2%}; {MAPE_AIM[device]:.0%} is aimed at"
    bench.check("mean error of the plain sum", raw["mape"] <= MAPE_AIM[device], detail, aim=True)


def steps(count: int, at_once: int) -> list[int]:
    """How many networks each command samples: those of the one before, which are measured, and some more.

    At least as many as a validation needs.
    """
    return sorted({*range(max(at_once, FEWEST_NETWORKS), count, at_once), count})


def finished_tables(bench: Bench, backend: str, dtype: str) -> dict[str, str]:
    """Protocol to table id, in_context first. Raises SkipPartError where there is none yet."""
    protocols = sorted(bench.choices.protocols, key=lambda name: name != ProtocolName.IN_CONTEXT.value)
    tables = {name: measured_table(bench, backend, dtype, name) for name in protocols}
    done = {name: table_id for name, table_id in tables.items() if table_id is not None}
    if not done:
        raise SkipPartError(
            f"no table of {backend} in {dtype} is finished yet; run {table_part(backend, dtype, protocols[0])} first"
        )
    return done


def _scores(report: Path, first: str, document: dict[str, Any]) -> dict[str, Any]:
    """Raw and calibrated by protocol, and multiply-adds, which are the same for all."""
    path = report / "comparison.json"
    scores = {first: document}
    if path.exists():
        scores = {row["protocol"]: row["validation"] for row in json.loads(path.read_text())["tables"]}
    protocols = {name: {"raw": one["raw"], "calibrated": one["calibrated"]} for name, one in scores.items()}
    return {"protocols": protocols, "macs": document["macs"]}
