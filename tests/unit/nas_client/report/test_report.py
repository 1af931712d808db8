"""`report`: one page with what the run's folder holds, nothing from elsewhere, and what is not there named."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from models.networks.module import network_costs
from models.spec.errors import ExitCode
from models.spec.measurements import ProtocolName
from models.spec.table_files import TableFormat, write_table
from models.spec.verdicts import Reason, TrustLevel, Verdict
from nas_client.estimates import estimate
from nas_client.experiments.collapse import collapse
from nas_client.experiments.collapse_artifacts import COLLAPSE
from nas_client.experiments.experiment import write
from nas_client.report.blocks import Grid, Section, Text, render
from nas_client.report.page import report
from nas_client.runs.manifest import begin_run
from nas_client.table import LookupTable
from nas_client.train.evaluation import Evaluation
from nas_client.validation.metrics import agreement
from nas_client.validation.scoring import NamedNetwork, PlainAgreement, Validation
from tests.support.client_command import Command
from tests.support.fake_service import TARGET, make_table
from tests.support.run_samples import SPACE, decoded, evaluation, write_search, write_training, write_weights

_VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """A page that was read: its text, ids, references, headings and rows of tables. Fails where tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.outside: list[str] = []
        self.inside: list[str] = []
        self.headings: list[str] = []
        self.rows: list[list[str]] = []
        self.folded: list[list[str]] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
            if "details" in self._open:
                self.folded.append(self.rows[-1])
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href") and value is not None:
                (self.inside if value.startswith("#") else self.outside).append(value)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "h2":
            self.headings.append(data)
        if self._open and self._open[-1] in ("td", "th"):
            self.rows[-1].append(data)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything."""
    folder = tmp_path_factory.mktemp("run")
    write_search(folder / "search")
    student, teacher = decoded("8,32", 1), decoded("8,16", 1, role="teacher")
    write_training(folder / "student", student, mean_iou=0.31)
    write_training(folder / "teacher", teacher, mean_iou=0.35)
    for name, network, latency_ms in (("student", student, 2.0), ("teacher", teacher, None)):
        digest = write_weights(folder / name, network, seed=0)
        write_evaluation(folder / "evaluation" / name, evaluation(network, latency_ms=latency_ms, mean_iou=0.33, digest=digest))
    Image.new("RGB", (4, 2)).save(folder / "evaluation" / "student" / "predictions.png")
    write_table(make_table(SPACE.spec), folder / "table.parquet", TableFormat.PARQUET)
    agreed = agreement([1, 2, 3, 4.1], [1, 2, 3, 4])
    own = NamedNetwork(
        architecture=student.key(),
        label="my student",
        measured_ms=2,
        stderr_ms=None,
        sum_ms=2.1,
        calibrated_ms=2.05,
        interval_ms=(1.9, 2.2),
    )
    why = Reason(name="scale", level=TrustLevel.UNSETTLED, text="scale unsettled: too few quiet visits")
    validation = Validation(
        architectures=4,
        raw=agreed,
        calibrated=agreed,
        macs=agreed,
        repeatability=0.012,
        named=(own,),
        verdict=Verdict.of([why]),
        plain=PlainAgreement(networks=4, raw=agreed, scaled_over_plain=0.987),
    )
    begin_run(folder, "validation")
    (folder / "validation.json").write_text(validation.model_dump_json())
    return folder


def write_evaluation(folder: Path, evaluated: Evaluation) -> None:
    begin_run(folder, "evaluation")
    (folder / "evaluation.json").write_text(evaluated.model_dump_json())


@pytest.fixture(scope="module")
def text(run: Path) -> str:
    return report(run)


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_the_page_needs_nothing_from_elsewhere(page: Page) -> None:
    assert [reference for reference in page.outside if not reference.startswith("data:")] == []


def test_references_within_the_page_lead_somewhere_and_ids_are_unique(page: Page) -> None:
    assert len(set(page.ids)) == len(page.ids)
    assert page.inside
    assert {reference.removeprefix("#") for reference in page.inside} <= set(page.ids)


def test_verdicts_of_validation_and_table_are_told(text: str, page: Page) -> None:
    assert "Verdict: unsettled: scale unsettled: too few quiet visits." in text
    assert "scaled latencies are 0.987 times plain ones" in text
    assert ["verdict", "trustworthy"] in page.rows


def test_clip_paths_lead_somewhere(text: str, page: Page) -> None:
    named = {part.split(")")[0].removeprefix("#") for part in text.split("url(")[1:]}
    assert named
    assert named <= set(page.ids)


def test_every_part_has_a_section(page: Page) -> None:
    assert [heading for heading in page.headings if heading != "Not in this run"] == [
        "Results",
        "Search (search)",
        "Training",
        "Evaluation",
        "Estimate against measurement",
        "Latency table",
    ]


def test_what_the_search_found_is_listed_with_its_costs(page: Page) -> None:
    assert ["student", "8,16", "3.100", "2.000", "1.500", "15.0", "0.2500"] in page.rows
    assert ["teacher", "8,32", "3.100", "2.000", "1.500", "15.0", "0.2500", "taken"] in page.rows


def test_trained_networks_are_listed_with_estimate_measurement_and_accuracy(page: Page) -> None:
    student, teacher = decoded("8,32", 1), decoded("8,16", 1, role="teacher")
    table = LookupTable(make_table(SPACE.spec))
    rows = {row[0]: row for row in page.rows if len(row) == 10}
    for name, network in (("student", student), ("teacher", teacher)):
        costs = network_costs(SPACE.plan(network))
        expected_ms = estimate(network, table).sum_ms
        assert rows[name][2] == f"{expected_ms:#.4g}"
        assert rows[name][6:] == [f"{costs.macs / 1e6:#.4g}", f"{costs.parameters / 1e6:#.4g}", "33.0", "66.0"]
        if name == "student":
            assert rows[name][3:6] == ["2.000", f"{100 * (expected_ms / 2 - 1):+.1f}", "500.0"]
        else:
            assert rows[name][3:6] == ["–", "–", "–"]


def test_trainings_of_one_architecture_have_their_own_accuracy(tmp_path: Path) -> None:
    """That of their own weights on the validation split; without one, that after the last epoch. A time belongs to both."""
    network = decoded("8,32", 1)
    digests = {}
    for seed, name in enumerate(("alone", "distilled", "trained_on", "unevaluated")):
        write_training(tmp_path / name, network, mean_iou=0.1 * (seed + 1))
        digests[name] = write_weights(tmp_path / name, network, seed)
    written = {
        "a": evaluation(network, latency_ms=None, mean_iou=0.45),  # of an earlier release: of nobody knows which weights
        "b": evaluation(network, latency_ms=None, mean_iou=0.46, digest=digests["distilled"]),
        "c": evaluation(network, latency_ms=2.0, mean_iou=0.47, digest=digests["alone"]),
        "d": evaluation(network, latency_ms=None, mean_iou=0.48, digest=digests["trained_on"], split="train"),
    }
    for name, evaluated in written.items():
        write_evaluation(tmp_path / "evaluation" / name, evaluated)
    rows = {row[0]: row for row in Page(report(tmp_path)).rows if len(row) == 10}
    assert {name: row[8] for name, row in rows.items() if name in digests} == {
        "alone": "47.0",
        "distilled": "46.0",
        "trained_on": "30.0",
        "unevaluated": "40.0",
    }
    assert {rows[name][3] for name in digests} == {"2.000"}


def test_an_estimate_is_compared_with_a_measurement_of_its_own_target_and_protocol(tmp_path: Path) -> None:
    network = decoded("8,32", 1)
    write_training(tmp_path / "run", network)
    isolated = ProtocolName.ISOLATED
    write_evaluation(tmp_path / "evaluation", evaluation(network, latency_ms=2.0, protocol=isolated))
    phone, tables = TARGET.model_copy(update={"device": "Some phone"}), {}
    for name, target, protocol in (("a", phone, isolated), ("b", TARGET, ProtocolName.IN_CONTEXT)):
        tables[name] = make_table(SPACE.spec, target=target, protocol=protocol)
        write_table(tables[name], tmp_path / f"{name}.parquet", TableFormat.PARQUET)
    expected_ms = estimate(network, LookupTable(tables["a"])).sum_ms

    def shown() -> list[str]:
        return next(row for row in Page(report(tmp_path)).rows if row[:1] == ["run"])[2:5]

    assert shown() == [f"{expected_ms:#.4g}", "2.000", "–"]
    write_table(make_table(SPACE.spec, protocol=isolated), tmp_path / "c.parquet", TableFormat.PARQUET)
    assert shown() == [f"{expected_ms:#.4g}", "2.000", f"{100 * (expected_ms / 2 - 1):+.1f}"]


def test_classes_predictions_and_named_networks_are_shown(page: Page, text: str) -> None:
    assert ["road", "33.0", "33.0"] in page.rows
    assert ["bicycle", "–", "–"] in page.rows
    assert ["my student", "2.000", "2.100", "+5.0", "2.050", "1.900 to 2.200"] in page.rows
    assert "student: 500.0 frames per second" in text.replace("evaluation/", "")
    assert len([reference for reference in page.outside if reference.startswith("data:image/png;base64,")]) == 1


def test_experiments_are_shown_and_their_runs_are_not(tmp_path: Path) -> None:
    table = LookupTable(make_table(SPACE.spec))
    folder = tmp_path / "collapse"
    for name in ("pretrain", "naive", "decoupled"):
        write_search(folder / "seed0" / name, pretraining=1, searching=1)
    collapsed = collapse(table, folder, seeds=1, modes=("naive", "decoupled"))
    assert collapsed is not None
    write(COLLAPSE, collapsed, folder)
    page = Page(report(tmp_path))
    assert page.headings == ["Experiment: collapse", "Latency table", "Not in this run"]
    first = collapsed.points[0]
    assert ["0", "naive", "0", f"{first.relaxed_ms:#.4g}", "10.0", "25", "50", "3.000"] in page.folded


def test_the_same_folder_gives_the_same_page(run: Path, text: str) -> None:
    assert report(run) == text


def test_figures_take_the_colours_of_the_page(text: str) -> None:
    svgs = text.split("<svg")[1:]
    # Of the search: losses, latency, mIoU, entropy; by role what it would decode to, and what it found. Of the trainings: both
    # networks, losses and mIoU.
    assert len(svgs) == 8 + 4
    assert all("var(--ink)" in svg for svg in svgs)
    assert not any("#1b1f24" in svg for svg in svgs)


def test_a_search_alone_says_what_is_absent(tmp_path: Path) -> None:
    write_search(tmp_path, pretraining=0, searching=1)
    text = report(tmp_path)
    assert "Search" in Page(text).headings
    assert "A validation of the table (`nas-client validate`)." in text
    assert "A latency table (`nas-client pull`)." in text
    assert "A search (" not in text


def test_a_search_that_has_only_pretrained(tmp_path: Path) -> None:
    write_search(tmp_path, pretraining=2, searching=0, finished=False)
    text = report(tmp_path)
    assert "2 epochs of pre-training and 0 of search" in text
    assert "The search has not ended" in text


def test_a_search_before_its_first_epoch(tmp_path: Path) -> None:
    write_search(tmp_path, pretraining=0, searching=0, finished=False)
    assert "No epoch has ended yet." in report(tmp_path)


def test_text_is_escaped() -> None:
    section = Section("x", "A < B", [Text("<script>"), Grid(("a&b",), [("<td>",)])])
    text = render("</title>", [section])
    assert "<script>" not in text
    assert Page(text).rows == [["a&b"], ["<td>"]]
    assert Page(text).headings == ["A < B"]


def test_the_command_writes_the_page(nas_client: Command, run: Path, tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    ended = nas_client("report", run, "-o", output, "--title", "One run", "--json")
    assert ended.code == ExitCode.DONE
    assert ended.document == {"path": str(output)}
    assert "<title>One run</title>" in output.read_text()


def test_a_folder_with_nothing_in_it_is_refused(nas_client: Command, tmp_path: Path) -> None:
    ended = nas_client("report", tmp_path, "-o", tmp_path / "report.html")
    assert ended.code == ExitCode.BAD_INPUT
    assert "nothing to report on" in ended.err
    assert not (tmp_path / "report.html").exists()


def test_a_run_that_does_not_say_what_it_is_is_refused(nas_client: Command, tmp_path: Path) -> None:
    write_search(tmp_path / "search")
    (tmp_path / "search" / "run.json").unlink()
    ended = nas_client("report", tmp_path, "-o", tmp_path / "report.html")
    assert ended.code == ExitCode.BAD_INPUT
    assert "has epochs.jsonl, but no run.json" in ended.err
    assert '"kind": "search"' in ended.err


def test_no_folder_at_all_is_refused(nas_client: Command, tmp_path: Path) -> None:
    ended = nas_client("report", tmp_path / "absent", "-o", tmp_path / "report.html")
    assert ended.code == ExitCode.BAD_INPUT
    assert "absent" in ended.err


def test_a_damaged_line_is_named(nas_client: Command, tmp_path: Path) -> None:
    write_search(tmp_path)
    (tmp_path / "epochs.jsonl").write_text('{"phase": "search"}\n')
    ended = nas_client("report", tmp_path, "-o", tmp_path / "report.html")
    assert ended.code == ExitCode.BAD_INPUT
    assert "epochs.jsonl" in ended.err
