"""How soon pages show something, and how long a browser takes to draw a large table. Run it on a quiet machine with `-s`."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import pytest

from models.spec.measurements import Measurement
from models.spec.operators import OperatorSpec
from models.spec.tables import Table
from tests.browser.conftest import Account, Service, serving_pages, signed_in
from tests.support import table_samples as samples

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1_800)]

ROWS, LOOKS = 100_000, 5

PAINTED_MS = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
ANSWERED_MS = "performance.getEntriesByType('navigation')[0].responseEnd"


def looked_at(context: Any, address: str) -> tuple[float, float]:
    """Milliseconds from the click until the page is there, and until something of it is seen."""
    page = context.new_page()
    page.goto(address)
    page.wait_for_function(f"() => {PAINTED_MS.replace('.startTime', '')}")
    found = page.evaluate(f"() => [{ANSWERED_MS}, {PAINTED_MS}]")
    page.close()
    return float(found[0]), float(found[1])


def test_first_paint_of_each_page(chromium: Any, tmp_path: Path) -> None:
    with serving_pages(tmp_path) as service:
        context = signed_in(chromium, service, Account())
        job_id = service.start_job()
        service.runner.permission.release(8)
        paths = {
            "overview": "/",
            "job": f"/ui/jobs/{job_id}",
            "table": f"/ui/tables/{service.here}",
            "comparison": f"/ui/compare?a={service.here}&b={service.there}",
            "validation": f"/ui/validations/{service.validation}",
        }
        print("\nfirst paint, and the answer's last byte, in milliseconds (first look; median of later ones)")
        for name, path in paths.items():
            report(name, [looked_at(context, service.url + path) for _ in range(1 + LOOKS)])
        context.close()
        context = chromium.new_context()
        report("sign in", [looked_at(context, f"{service.url}/ui/login") for _ in range(1 + LOOKS)])
        context.close()


def report(name: str, times: list[tuple[float, float]]) -> None:
    (first_answer, first_paint), later = times[0], times[1:]
    answer, paint = (median(column) for column in zip(*later, strict=True))
    print(f"  {name:<11} {first_paint:5.0f} {first_answer:5.0f}; {paint:5.0f} {answer:5.0f}")
    assert answer > 0
    assert paint > 0


def operator(number: int) -> OperatorSpec:
    height, rest = divmod(number, 1_000)
    return OperatorSpec(kind="conv3x3", in_channels=1 + rest, out_channels=8, height=8 * (1 + height // 50), width=1 + height)


def test_a_large_table_is_drawn(chromium: Any, tmp_path: Path) -> None:
    entries = tuple(Measurement(workload=operator(number), value_ms=0.1 + 1e-6 * number) for number in range(ROWS))
    with serving_pages(tmp_path) as service:
        large = service.store.import_table(Table(info=samples.info(protocol_version=2), entries=entries))
        context = signed_in(chromium, service, Account())
        print(f"\na table of {ROWS} rows, in milliseconds: the browser's scripts and drawing; until all is there")
        for name in ("first look", "again", "once more"):
            print(f"  {name:<11} {drawn(context, service, large)}")
        context.close()


def drawn(context: Any, service: Service, table_id: str) -> str:
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Performance.enable")
    page.goto(f"{service.url}/ui/tables/{table_id}")
    page.wait_for_selector("[data-ready]", timeout=300_000)
    page.wait_for_selector("#entries tbody tr", timeout=300_000)
    metrics = {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}
    total_ms = float(page.evaluate("() => performance.now()"))
    page.close()
    busy_ms = 1e3 * metrics["TaskDuration"]
    assert 0 < busy_ms <= total_ms + 1e3
    return f"{busy_ms:6.0f} {total_ms:6.0f}"
