"""The pages in Chromium, through the real service: what a reader does with them, and what they must never do."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.browser.conftest import Account, Service, serving_pages, signed_in
from tests.support.local_service import wait_until

AXE = Path(__file__).with_name("axe.min.js")


@pytest.fixture(scope="module")
def service(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_pages(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture(scope="module")
def account() -> Account:
    return Account()


@pytest.fixture(scope="module")
def context(chromium: Any, service: Service, account: Account) -> Iterator[Any]:
    context = signed_in(chromium, service, account)
    yield context
    context.close()


@pytest.fixture
def page(context: Any, service: Service, account: Account) -> Iterator[Any]:
    page = context.new_page()
    yield page
    page.close()
    assert account.complaints == []
    assert account.hosts == {service.url.removeprefix("http://")}


def point_at(page: Any, series: int, coordinates: str) -> None:
    """Move the pointer to what stands at those coordinates of the page's first figure `f`."""
    figure = "const f = document.querySelector('[data-figure]').figure"
    script = f"() => {{ {figure}; return f.chart.convertToPixel({{seriesIndex: {series}}}, {coordinates}); }}"
    x, y = page.evaluate(script)
    canvas = page.locator(".canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + x - 2, box["y"] + y)
    page.mouse.move(box["x"] + x, box["y"] + y)


def test_a_job_is_followed_to_its_end(page: Any, service: Service) -> None:
    page.goto(f"{service.url}/")
    page.wait_for_selector("text=Nothing is being measured")
    job_id = service.start_job()
    page.wait_for_selector(f'[data-job="{job_id}"] >> text=/planned|building|measuring/')
    for _ in range(3):
        service.runner.permission.release()
    page.wait_for_selector(f'[data-job="{job_id}"] [data-field=measured] >> text=/^3$/')
    page.wait_for_selector("text=round 3 of 8")
    page.click(f'a[href$="/ui/jobs/{job_id}"]')
    for _ in range(5):
        service.runner.permission.release()
    page.wait_for_selector(".badge >> text=done")
    assert page.eval_on_selector("progress", "bar => bar.value") == 1
    page.wait_for_selector("text=signal 11 <in the engine>")
    assert page.locator("button:has-text('Retry failures')").is_visible()


def test_a_job_is_cancelled_only_after_a_question(page: Any, service: Service) -> None:
    job_id = service.start_job()
    page.goto(f"{service.url}/ui/jobs/{job_id}")
    page.wait_for_selector(".badge >> text=/planned|building|measuring/")
    page.click("text=Cancel…")
    page.click("text=Keep measuring")
    assert not service.store.job(job_id).state.final
    page.click("text=Cancel…")
    page.click("text=Cancel the job")
    page.wait_for_selector(".badge >> text=cancelled", timeout=60_000)  # what is being built or checked ends first


def test_a_table_is_looked_at_cell_by_cell(page: Any, service: Service) -> None:
    page.goto(f"{service.url}/ui/tables/{service.here}")
    page.wait_for_selector("[data-ready]")
    page.wait_for_selector("#entries tbody tr")
    point_at(page, 0, "[f.data.cells[5][0], f.data.cells[5][1]]")
    page.wait_for_selector("#cell svg.histogram")
    assert re.search(r"Value\s+[\d.]+ ms", page.inner_text("#cell"))
    before = page.inner_text("#cell .mono")
    page.focus(".canvas")
    page.keyboard.press("ArrowRight")
    wait_until(lambda: page.inner_text("#cell .mono") != before if page.locator("#cell .mono").count() else False)
    page.select_option("#panel", index=2)
    page.select_option("#e-sort", "value")
    wait_until(lambda: page.locator("#entries tbody tr").count() == 50)
    page.click("text=Next")
    page.wait_for_selector("text=page 2 of 14")
    with page.expect_download() as download:
        page.click("a.button >> text=csv")
    assert download.value.suggested_filename == f"{service.here}.csv"


def test_two_tables_are_compared(page: Any, service: Service) -> None:
    page.goto(f"{service.url}/ui/tables/{service.here}")
    page.select_option("#with", service.there)
    page.click("text=Compare >> nth=-1")
    page.wait_for_selector("[data-ready]")
    assert "differ significantly" in page.inner_text(".verdict .word")
    assert "AMD EPYC" in page.inner_text("section[aria-labelledby=differ-title]")
    page.focus(".canvas")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#cell >> text=times as long")


def test_a_network_is_drawn_where_it_is_pointed_at(page: Any, service: Service) -> None:
    page.goto(f"{service.url}/ui/validations/{service.validation}")
    wait_until(lambda: page.locator("[data-ready]").count() == 2)
    point_at(page, 1, "[f.data.x[5], f.data.y[5]]")
    page.wait_for_selector("#network svg.network rect")
    assert "25.00 ms" in page.inner_text("#network")
    page.select_option("#residuals-estimate", "macs")


def test_odd_entries_blank_no_page(page: Any, service: Service) -> None:
    page.goto(f"{service.url}/ui/tables/{service.odd}")
    page.wait_for_selector("[data-ready]")
    page.wait_for_selector("#entries >> text=crashed")
    page.focus(".canvas")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#cell >> text=<b>no engine</b>")


def test_seven_tabs_share_one_stream(context: Any, service: Service, page: Any) -> None:
    tabs = [context.new_page() for _ in range(7)]
    for tab in tabs:
        tab.goto(f"{service.url}/ui/compare")
    live = service.app.state.web.live
    wait_until(lambda: len(live._readers) == 1)
    job_id = service.start_job()
    for tab in tabs[:2]:
        tab.goto(f"{service.url}/ui/jobs/{job_id}")
    for _ in range(2):
        service.runner.permission.release()
    for tab in tabs[:2]:
        tab.wait_for_selector("[data-field=measured] >> text=/^2$/")
    assert len(live._readers) == 1
    for tab in tabs:
        tab.close()
    for _ in range(6):
        service.runner.permission.release()
    wait_until(lambda: service.store.job(job_id).state.final)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible_and_fit_a_narrow_screen(
    chromium: Any, context: Any, service: Service, account: Account, scheme: str
) -> None:
    job_id = service.store.jobs()[0].id
    paths = [
        *("/", f"/ui/jobs/{job_id}", f"/ui/tables/{service.here}", f"/ui/tables/{service.odd}", "/ui/login"),
        *(f"/ui/compare?a={service.here}&b={service.there}", f"/ui/validations/{service.validation}"),
    ]
    page = context.new_page()
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 400, "height": 800})
    found = {}
    for path in paths:
        page.goto(service.url + path)
        page.wait_for_selector("main section")
        page.evaluate(AXE.read_text(encoding="utf-8"))
        result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        serious = [
            (violation["id"], violation["nodes"][0]["html"])
            for violation in result["violations"]
            if violation["impact"] in ("serious", "critical")
        ]
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if serious or wide > 0:
            found[path] = (serious, wide)
    page.close()
    assert found == {}
    assert account.complaints == []


def test_who_signs_out_sees_nothing_more(chromium: Any, service: Service, account: Account) -> None:
    context = signed_in(chromium, service, account)
    page = context.new_page()
    page.goto(f"{service.url}/")
    page.click("text=Sign out")
    page.wait_for_url(f"{service.url}/ui/login")
    page.goto(f"{service.url}/ui/tables/{service.here}")
    page.fill("#token", "opclock_000000000000_" + "A" * 43)
    page.click("button.primary")
    page.wait_for_selector("text=There is no such token here")
    page.fill("#token", service.token)
    page.click("button.primary")
    page.wait_for_url(f"{service.url}/ui/tables/{service.here}")
    context.close()
    account.complaints = [text for text in account.complaints if "401" not in text]  # of the refused token, which is told
    assert account.complaints == []


NGINX_CONFIGURATION = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location /lab/opclock/ {{
            proxy_pass {behind}/;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_buffering off;
        }}
    }}
}}
"""


@pytest.fixture
def behind_nginx(chromium: Any, tmp_path: Path) -> Iterator[Service]:
    """A service below a path of nginx, set up as docs/access.md says."""
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if nginx is None:
        pytest.skip("needs nginx: apt-get install nginx-light")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started: list[subprocess.Popen[bytes]] = []

    def front(behind: str) -> str:
        configuration = tmp_path / "nginx.conf"
        configuration.write_text(NGINX_CONFIGURATION.format(folder=tmp_path, port=port, behind=behind))
        started.append(subprocess.Popen([nginx, "-c", str(configuration), "-e", str(tmp_path / "error.log")]))
        url = f"http://127.0.0.1:{port}/lab/opclock"
        wait_until(lambda: _answers(f"{url}/healthz"))
        return url

    try:
        with serving_pages(tmp_path, front=front, root_path="/lab/opclock") as service:
            yield service
    finally:
        for process in started:
            process.terminate()
            process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def test_the_same_below_a_path_of_a_proxy(chromium: Any, behind_nginx: Service) -> None:
    account = Account()
    context = signed_in(chromium, behind_nginx, account)
    page = context.new_page()
    page.goto(f"{behind_nginx.url}/")
    job_id = behind_nginx.start_job()
    page.wait_for_selector(f'[data-job="{job_id}"] >> text=/planned|building|measuring/')
    behind_nginx.runner.permission.release()
    page.wait_for_selector(f'[data-job="{job_id}"] [data-field=measured] >> text=/^1$/')
    page.click(f'a[href$="/ui/jobs/{job_id}"]')
    page.click("text=Cancel…")
    page.click("text=Cancel the job")
    page.wait_for_selector(".badge >> text=cancelled")
    for path in (f"/ui/tables/{behind_nginx.here}", f"/ui/compare?a={behind_nginx.here}&b={behind_nginx.there}"):
        page.goto(behind_nginx.url + path)
        page.wait_for_selector("[data-ready]")
    page.click("text=Sign out")
    page.wait_for_url(f"{behind_nginx.url}/ui/login")
    assert context.cookies() == []
    context.close()
    assert account.complaints == []
    assert account.hosts == {behind_nginx.url.removeprefix("http://").partition("/")[0]}
