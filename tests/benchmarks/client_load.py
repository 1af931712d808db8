"""Clients of a service, in a process of their own: they look workloads up and pull a table, over and over until they are ended.

They prepare what they send, and throw away what they get, so that most of the work is the service's.
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from models.spec.wire import ARROW_MEDIA_TYPE, JSON_MEDIA_TYPE
from profiler_service.backends.processor import usable_cores

PULLS = 8
"""One client in so many pulls the table; the others look up."""


@contextmanager
def loaded(url: str, table_id: str, workloads: list[list[dict[str, object]]], clients: int) -> Iterator[None]:
    """So many clients ask for the length of a `with` block, on the core that timing leaves alone."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_ask, args=(url, table_id, workloads, clients), daemon=True)
    process.start()
    try:
        yield
        assert process.is_alive(), "the clients ended before the job did"
    finally:
        process.terminate()
        process.join()


def _ask(url: str, table_id: str, workloads: list[list[dict[str, object]]], clients: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {usable_cores()[0]})
    bodies = [json.dumps({"table_id": table_id, "workloads": wanted}).encode() for wanted in workloads]
    threads = [
        threading.Thread(target=_client, args=(url, table_id, bodies[number % len(bodies)], number % PULLS == 0), daemon=True)
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _client(url: str, table_id: str, body: bytes, pulls: bool) -> None:
    address = urlsplit(url)
    while True:
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=900)
        try:
            while True:
                if pulls:
                    connection.request("GET", f"/v1/tables/{table_id}", headers={"Accept": ARROW_MEDIA_TYPE})
                else:
                    connection.request("POST", "/v1/lookup", body, {"Content-Type": JSON_MEDIA_TYPE})
                answer = connection.getresponse()
                answer.read()
                if answer.status not in (200, 429, 503):
                    raise AssertionError(f"the service answered {answer.status}")
        except (OSError, http.client.HTTPException):  # it closes connections when it has too many
            connection.close()
