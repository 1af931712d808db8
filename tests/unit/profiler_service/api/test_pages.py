"""The pages that describe every call work on a box without a network, and can be made to do nothing else."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_a_page_loads_only_what_the_service_has(client: TestClient, page: str) -> None:
    answer = client.get(page)
    assert answer.status_code == 200
    loaded = re.findall(r'(?:src|href|spec-url)="([^"]*)"', answer.text)
    assert len(loaded) >= 3
    for address in loaded:
        assert not re.match(r"[a-z]+:|/", address), "not relative, which it must be below a root path"
        assert client.get(f"/{address}").status_code == 200


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_a_page_runs_no_script_but_those_files(client: TestClient, page: str) -> None:
    answer = client.get(page)
    policy = {name: values for name, *values in (rule.split() for rule in answer.headers["Content-Security-Policy"].split(";"))}
    assert policy["default-src"] == ["'none'"]
    assert policy["script-src"] == policy["connect-src"] == ["'self'"]
    assert policy["frame-ancestors"] == policy["form-action"] == policy["base-uri"] == ["'none'"]
    assert re.findall(r"<script[^>]*>([^<]*)</script>", answer.text) == [""] * answer.text.count("<script")
    assert not re.search(r"\son\w+=", answer.text)


def test_the_page_is_started_with_the_description_of_this_service(client: TestClient) -> None:
    script = client.get("/docs/assets/start-swagger.js")
    assert script.headers["Content-Type"].startswith("text/javascript")
    assert 'url: "openapi.json"' in script.text
    assert "http" not in script.text


@pytest.mark.parametrize("name", ["nothing.js", "../access.py", "..%2faccess.py", "%2e%2e/access.py", ""])
def test_nothing_else_is_a_file(client: TestClient, name: str) -> None:
    assert client.get(f"/docs/assets/{name}").status_code == 404


def test_every_other_answer_is_no_page(client: TestClient) -> None:
    for path in ("/healthz", "/v1/tables", "/nothing", "/openapi.json", "/metrics"):
        headers = client.get(path).headers
        assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_the_description_says_where_a_token_goes(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert document["paths"]["/v1/jobs"]["post"]["security"] == [{"token": []}]
    assert {"401", "403"} <= set(document["paths"]["/v1/tables"]["get"]["responses"])
