"""The schema has all that a page needs of services, messages and enums, and their comments."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flask_grpcweb_scm import Service
from flask_grpcweb_scm.console.schema import schema_of
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.services import Descriptors
from tests import every_field_pb2, old_fields_pb2
from tests.apps import echo_app, echo_service, lookup_service
from tests.echo_pb2 import EchoRequest
from tests.services.test_reflection import extended_service

EVERY = "tests.every_field.v1."


def schema(*services: Service) -> Any:
    found = schema_of(services, Descriptors(services=services).file_set())
    return json.loads(json.dumps(found))


@pytest.fixture(scope="module")
def every_field() -> Any:
    return schema(Service(every_field_pb2.DESCRIPTOR.services_by_name["Mirror"]))


def fields(found: Any, message: str) -> dict[str, Any]:
    return {field["name"]: field for field in found["messages"][message]["fields"]}


def test_services_come_with_their_comments() -> None:
    from flask_grpcweb_scm.scm import service

    found = schema(service)
    [scm] = found["services"]
    methods = {method["name"]: method for method in scm["methods"]}
    assert scm["name"] == service.name
    assert methods["ListRepositories"]["comment"].startswith("Lists an organization's active repositories by name;")
    assert methods["ListRepositories"]["safe"]
    assert methods["StreamRepositories"]["serverStreaming"]
    request = fields(found, "sentry.integrations.scm.v1.ListRepositoriesRequest")
    assert (
        request["provider"]["comment"] == "Only repositories of this provider; PROVIDER_UNSPECIFIED lists all of them."
    )
    assert request["organization_id"]["json"] == "organizationId"
    assert [each.name for each in scm_pb2.Provider.DESCRIPTOR.values] == [
        value["name"] for value in found["enums"]["sentry.integrations.scm.v1.Provider"]["values"]
    ]


def test_kinds_of_methods() -> None:
    found = schema(echo_service(), lookup_service(lambda request, context: None))
    kinds = {
        method["name"]: [word for word in ("clientStreaming", "serverStreaming", "safe") if method.get(word)]
        for service in found["services"]
        for method in service["methods"]
    }
    assert kinds == {
        "Unary": [],
        "ServerStream": ["serverStreaming"],
        "ClientStream": ["clientStreaming"],
        "Bidi": ["clientStreaming", "serverStreaming"],
        "Missing": [],
        "Find": ["safe"],
    }


def test_every_kind_of_field(every_field: Any) -> None:
    scalars = fields(every_field, f"{EVERY}Scalars")
    assert {name: field["type"] for name, field in scalars.items()} == {
        name: name.removesuffix("_value") for name in scalars
    }
    assert not any(word in field for field in scalars.values() for word in ("optional", "repeated", "oneof", "key"))
    assert all(
        field["optional"] for name, field in fields(every_field, f"{EVERY}Optionals").items() if name != "message_value"
    )
    assert not any("oneof" in field for field in fields(every_field, f"{EVERY}Optionals").values())
    assert all(field["repeated"] for field in fields(every_field, f"{EVERY}Lists").values())
    maps = fields(every_field, f"{EVERY}Maps")
    assert (maps["int64s"]["key"], maps["int64s"]["type"]) == ("int64", "double")
    assert (maps["sfixed32s"]["key"], maps["sfixed32s"]["of"]) == ("sfixed32", f"{EVERY}Scalars")
    assert not any("repeated" in field for field in maps.values())
    assert fields(every_field, f"{EVERY}OneOf")["text"]["oneof"] == "kind"
    assert fields(every_field, f"{EVERY}Names")["renamed"]["json"] == "another name"
    assert fields(every_field, f"{EVERY}Tree")["branches"]["of"] == f"{EVERY}Tree"
    assert [value["number"] for value in every_field["enums"][f"{EVERY}Colour"]["values"]] == [
        0,
        1,
        1,
        -1,
        2147483647,
        5,
    ]
    assert not any(name.endswith("Entry") for name in every_field["messages"])


def test_every_message_that_is_named_is_there(every_field: Any) -> None:
    found = [every_field, schema(extended_service())]
    for each in found:
        for message in each["messages"].values():
            for field in message.get("fields", []):
                if field["type"] in {"message", "group"}:
                    assert field["of"] in each["messages"]
                elif field["type"] == "enum":
                    assert field["of"] in each["enums"]


def test_details_of_errors_are_known() -> None:
    messages = schema(echo_service())["messages"]
    assert {
        "google.rpc.Status",
        "google.rpc.BadRequest.FieldViolation",
        "google.rpc.RetryInfo",
        "google.protobuf.Any",
    } <= messages.keys()


def test_messages_that_no_method_names_may_be_in_an_any() -> None:
    assert "extended.Message.Inner" in schema(extended_service())["messages"]


def test_defaults_and_groups_of_older_files(every_field: Any) -> None:
    old = [
        field
        for message in old_fields_pb2.DESCRIPTOR.message_types_by_name.values()
        for field in fields(every_field, message.full_name).values()
    ]
    assert any("default" in field for field in old)
    assert any(field["type"] == "group" for field in old)


def test_examples_are_json() -> None:
    service = echo_service()
    service.example("Unary", EchoRequest(text="a", data=b"\xff"), title="Bytes")
    service.example("Unary", EchoRequest())
    service.example("ClientStream", EchoRequest(count=1), EchoRequest(count=2))
    methods = {method["name"]: method.get("examples") for method in schema(service)["services"][0]["methods"]}
    assert methods["Unary"] == [
        {"title": "Bytes", "requests": [{"text": "a", "data": "/w=="}]},
        {"title": "Example 2", "requests": [{}]},
    ]
    assert methods["ClientStream"] == [{"title": "Example 1", "requests": [{"count": 1}, {"count": 2}]}]
    assert methods["Bidi"] is None


def test_the_page_has_what_is_of_the_app() -> None:
    app = echo_app(GRPC_CONSOLE=True, GRPC_PROTOCOLS="connect", GRPC_AUTH_TOKENS="t")
    found: Any = app.test_client().get("/_grpc/schema.json", headers={"X-Grpc-Auth-Token": "t"}).get_json()
    assert (found["title"], found["protocols"], found["authenticates"]) == (app.name, ["connect"], True)
    assert [service["name"] for service in found["services"]] == ["tests.echo.v1.Echo"]
