"""The reference page of HTTP, from the OpenAPI document of the service."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from models.spec.errors import ErrorCode
from models.spec.targets import TargetSpec
from profiler_service.api.access import is_public
from profiler_service.api.app import create_app
from profiler_service.api.openapi import COMMON
from profiler_service.settings import Settings
from profiler_service.version import service_version
from profiler_service.worker.protocol import BackendDescription
from scripts.column_docs import attributes, grid, member_docs, members
from scripts.reference_markup import MADE, choices, code, page, paragraphs, prose, shown

RELEASE = "VERSION"
"""What stands in examples for the version of the release."""

LONGEST_EXAMPLE = 60
"""Lines of an example; networks have hundreds."""

STATUS_WORDS = {"200": "OK", "201": "Created", "202": "Accepted", "413": "Content too large", "422": "Unprocessable content"}
"""Statuses that Python, or FastAPI, calls differently from version to version."""


def openapi() -> dict[str, Any]:
    """The document that a running service shows at `/openapi.json`; nothing is opened for it."""
    target = TargetSpec(device="Example CPU", backend="onnxruntime", versions={"onnxruntime": "1.20.0"}, threads=1)
    backend = BackendDescription(target=target, dtypes=("float32",), reads_onnx=True, builds_on_device=False)
    document = create_app(Settings.model_construct(), store=None, queue=None, backend=backend).openapi()  # type: ignore[arg-type]
    return dict(document)


def schema_name(schema: Mapping[str, Any]) -> str:
    """A JSON schema in a few words; those with a name of their own as links."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return code(str(schema["const"]))
    if "enum" in schema:
        return choices("|".join(map(str, schema["enum"])))
    for variants in (schema.get("anyOf"), schema.get("oneOf")):
        if variants:
            return " or ".join(dict.fromkeys(map(schema_name, variants)))
    if schema.get("type") == "array":
        return f"list of {schema_name(schema.get('items', {}))}" if schema.get("items") else "list"
    if schema.get("type") == "object":
        inner = schema.get("additionalProperties")
        return f"object of {schema_name(inner)}" if isinstance(inner, dict) and inner else "object"
    return {"string": "text", "null": "null"}.get(schema.get("type", ""), schema.get("type", "any")) + (
        f" ({schema['format']})" if "format" in schema else ""
    )


def bounds(schema: Mapping[str, Any]) -> list[str]:
    """Limits of a number."""
    return [f"{sign} {schema[name]}" for name, sign in (("minimum", "≥"), ("maximum", "≤")) if name in schema]


def example_block(media_type: str, value: object) -> str:
    """An example, without the release's version, and cut where it is long."""
    if isinstance(value, str):
        lines = [line if len(line) <= 400 else line[:400] + "…" for line in value.splitlines()]
        language = "text"
    else:
        language = "json"
        text = json.dumps(value, indent=2, ensure_ascii=False)
        lines = re.sub(r"\[[^\[\]{}]+\]", lambda found: " ".join(found[0].split()), text).splitlines()
        lines = [re.sub(r'("service_version": )"[^"]*"', rf'\1"{RELEASE}"', line) for line in lines]
    if len(lines) > LONGEST_EXAMPLE:
        lines = [*lines[:LONGEST_EXAMPLE], f"… {len(lines) - LONGEST_EXAMPLE} more lines"]
        language = "text"
    return f"```{language}\n" + "\n".join(lines).replace(service_version(), RELEASE) + "\n```"


def operation_section(method: str, path: str, operation: Mapping[str, Any]) -> str:
    """One call."""
    parts = [f"### {method.upper()} {path}", paragraphs(operation.get("description", operation.get("summary", "")))]
    if is_public(method.upper(), path):
        parts.append("Public.")
    parameters = [
        (
            code(parameter["name"]),
            parameter["in"],
            ", ".join([schema_name(parameter["schema"]), *bounds(parameter["schema"])]),
            "required" if parameter.get("required") else shown(parameter["schema"].get("default")),
            prose(parameter.get("description", "")),
        )
        for parameter in operation.get("parameters", ())
    ]
    if parameters:
        parts.append(grid(("parameter", "in", "type", "default", "meaning"), parameters))
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"Body, `{media_type}`: {schema_name(content['schema'])}.")
        for name, example in content.get("examples", {}).items():
            parts += [f"Example: {name}.", example_block(media_type, example["value"])]
    rows, examples = [], []
    for status, response in operation["responses"].items():
        if int(status) in COMMON:
            continue
        contents = response.get("content", {})
        shapes = [f"`{media}`" + (f": {schema_name(c['schema'])}" if c.get("schema") else "") for media, c in contents.items()]
        headers = [f"Header {code(name)}: {header['description']}" for name, header in response.get("headers", {}).items()]
        said = response["description"]
        if said == "Successful Response" or status in ("413", "422"):
            said = STATUS_WORDS[status]
        rows.append((status, prose(". ".join([said.removesuffix("."), *headers])), "; ".join(shapes)))
        if status.startswith("2"):
            for media_type, content in contents.items():
                if "example" in content:
                    examples += [f"Answer, `{media_type}`:", example_block(media_type, content["example"])]
    parts.append(grid(("status", "meaning", "body"), sorted(rows)))
    return "\n\n".join(parts + examples)


def enum_values(name: str, values: Sequence[object]) -> str:
    """The values of an enumeration, with their meanings where the code documents them all."""
    found = {cls.__name__: cls for cls in StrEnum.__subclasses__() if cls.__module__.startswith("models.spec.")}
    if name in found and all(member_docs(found[name]).values()):
        return members(found[name])
    return paragraphs("One of " + ", ".join(code(str(value)) for value in values) + ".")


def schema_section(name: str, schema: Mapping[str, Any]) -> str:
    """One document that crosses HTTP."""
    description = inspect.cleandoc(schema.get("description", ""))
    said, (text, _, _) = attributes(description), description.partition("Attributes:\n")
    parts = [f"### {name}"]
    if text.strip():
        parts.append(paragraphs(re.split(r"\n\s*(?:Raises|Args):\n", text)[0].strip()))
    if "enum" in schema:
        parts.append(enum_values(name, schema["enum"]))
    required = schema.get("required", ())
    rows = [
        (
            code(field),
            schema_name(described),
            "required" if field in required else shown(described["default"]) if "default" in described else "",
            prose(said.get(field, "")),
        )
        for field, described in schema.get("properties", {}).items()
    ]
    if rows:
        parts.append(grid(("field", "type", "default", "meaning"), rows))
    return "\n\n".join(parts)


def http_page() -> str:
    """docs/reference/http.md."""
    document = openapi()
    parts = [
        "# HTTP",
        MADE.format(source="the routes in `profiler_service/api` and the records in `models/spec`"),
        paragraphs(document["info"]["description"]),
        "A running service shows the same as an interactive page at `/docs`, and as OpenAPI at `/openapi.json`. "
        f"Versions in examples are left out (`{RELEASE}`).",
        "Beyond loopback every call needs a token, except those that say they are public ([access](../access.md)).",
        'Every error has one shape: `{"error": {"code", "message", "hint", "request_id"}}`. '
        "`code` is one of " + ", ".join(code(member.value) for member in ErrorCode) + ".",
        "Any call may also answer with one of these:",
        grid(("status", "meaning"), [(str(status), HTTPStatus(status).phrase) for status in COMMON]),
        "## Calls",
    ]
    for path, operations in document["paths"].items():
        parts += [operation_section(method, path, operation) for method, operation in operations.items()]
    parts.append("## Documents")
    parts += [schema_section(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]
    return page(parts)
