"""The OpenAPI 3.1 document, made from the routes and the structs of their bodies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from searchapp import __version__
from searchapp.serve.bodies import ErrorAnswer

if TYPE_CHECKING:
    from searchapp.serve.app import Route

REF = "#/components/schemas/{name}"
REFUSALS = {
    "400": "A value is wrong; param names the field.",
    "401": "A token is needed.",
    "403": "The host or the page's origin is not allowed.",
    "404": "There is no such thing.",
    "408": "The body did not come in time.",
    "409": "The state of the index that was asked for is gone.",
    "413": "The body is too long.",
    "415": "The body is no application/json, or compressed.",
    "429": "Too much is waiting; Retry-After says when to come again.",
    "500": "A fault of the server.",
    "503": "Not ready, stopping, or out of memory.",
    "504": "The deadline passed.",
}
BODILESS = ("400", "401", "403", "404", "429", "500", "503", "504")


def openapi(routes: Sequence[Route], *, has_token: bool) -> dict[str, Any]:
    """Describe the routes."""
    structs = {kind for route in routes for kind in (route.request, route.answer) if kind is not None}
    ordered = sorted(structs | {ErrorAnswer}, key=lambda kind: kind.__name__)
    schemas, components = msgspec.json.schema_components(ordered, ref_template=REF)
    by_type = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = route.path.replace(":path}", "}")
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, by_type)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "searchapp", "version": __version__, "description": "Search, embed and rerank."},
        "paths": paths,
        "components": {"schemas": components},
    }
    if has_token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _operation(route: Route, schemas: dict[type, Any]) -> dict[str, Any]:
    name = route.path.strip("/").replace("/", "_").replace("{", "").replace(":path}", "").replace("}", "") or "page"
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}_{name.replace('.', '_')}",
        "summary": route.summary,
        "responses": {str(route.success): {"description": "Done.", **_content(route, schemas)}},
    }
    for status in REFUSALS if route.request is not None else BODILESS:
        operation["responses"][status] = {
            "description": REFUSALS[status],
            "content": {"application/json": {"schema": schemas[ErrorAnswer]}},
        }
    if route.request is not None:
        body = {"application/json": {"schema": schemas[route.request]}}
        operation["requestBody"] = {"required": True, "content": body}
    parameters = [
        {"name": part[1:-1].removesuffix(":path"), "in": "path", "required": True, "schema": {"type": "string"}}
        for part in route.path.split("/")
        if part.startswith("{")
    ]
    parameters += [
        {"name": one, "in": "query", "required": False, "schema": {"type": "string"}} for one in route.parameters
    ]
    if parameters:
        operation["parameters"] = parameters
    return operation


def _content(route: Route, schemas: dict[type, Any]) -> dict[str, Any]:
    if route.answer is None:
        return {}
    return {"content": {"application/json": {"schema": schemas[route.answer]}}}
