"""Reflection shows what is served, with its comments, to those who may call, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from flask_grpcweb_scm import ConfigError, GrpcWebScm, Service
from flask_grpcweb_scm.client import CallError
from flask_grpcweb_scm.pb import reflection_pb2, reflection_v1alpha_pb2, scm_pb2
from flask_grpcweb_scm.pb.reflection_pb2 import ExtensionRequest, ServerReflectionRequest, ServerReflectionResponse
from flask_grpcweb_scm.services import Descriptors, read_sets
from flask_grpcweb_scm.testing import channel_for
from tests import every_field_pb2
from tests.apps import echo_app, echo_service
from tests.documents import ROOT
from tests.tables import check_rows

VERSIONS = {"v1": reflection_pb2, "v1alpha": reflection_v1alpha_pb2}
INFO = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
ECHO, SCM = "tests/echo.proto", "flask_grpcweb_scm/pb/scm.proto"
TIMESTAMP, DURATION = "google/protobuf/timestamp.proto", "google/protobuf/duration.proto"
ANY = "google/protobuf/any.proto"
ERROR_DETAILS = [ANY, "google/rpc/status.proto", DURATION, "google/rpc/error_details.proto"]
TOKEN = "a token"


def answers(app: Flask, *requests: dict[str, Any], version: str = "v1", **options: Any) -> list[Any]:
    """The responses to requests that one stream sends."""
    messages: Any = VERSIONS[version]
    stub: Any = channel_for(app, **options).stub(messages.DESCRIPTOR.services_by_name["ServerReflection"])
    sent = [messages.ServerReflectionRequest(**fields) for fields in requests]
    found = list(stub.server_reflection_info(iter(sent)))
    assert [each.original_request for each in found] == sent
    return found


def names(response: Any) -> list[str]:
    files = response.file_descriptor_response.file_descriptor_proto
    return [FileDescriptorProto.FromString(each).name for each in files]


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.mark.parametrize("protocol", ["grpc-web", "connect"])
def test_a_client_reads_all_that_is_served(version: str, protocol: str) -> None:
    app = echo_app(GRPC_REFLECTION=True)
    (listed,) = answers(app, {"list_services": "*", "host": "here"}, version=version, protocol=protocol)
    services = [service.name for service in listed.list_services_response.service]
    assert services == [f"grpc.reflection.{each}.ServerReflection" for each in VERSIONS] + ["tests.echo.v1.Echo"]
    assert listed.valid_host == "here"
    found = answers(app, *({"file_containing_symbol": name} for name in services), version=version, protocol=protocol)
    pool = DescriptorPool()
    for response in found:
        for data in reversed(response.file_descriptor_response.file_descriptor_proto):
            pool.AddSerializedFile(data)
    for name in services:
        assert pool.FindServiceByName(name).full_name == name


# With imports, extensions of every place, and a package that other files in the pool do not have.
EXTENDED = FileDescriptorProto(name="extended.proto", package="extended", syntax="proto2", dependency=[TIMESTAMP])
_message = EXTENDED.message_type.add(name="Message")
_message.extension_range.add(start=100, end=200)
_message.field.add(name="at", number=1, label=1, type=11, type_name=".google.protobuf.Timestamp")
_message.oneof_decl.add(name="either")
_message.field.add(name="one", number=2, label=1, type=9, oneof_index=0)
_message.enum_type.add(name="Kind").value.add(name="KIND_NONE", number=0)
_inner = _message.nested_type.add(name="Inner")
_OF_MESSAGE: dict[str, Any] = {"extendee": ".extended.Message", "label": 1, "type": FieldDescriptorProto.TYPE_STRING}
_inner.extension.add(name="inside", number=150, **_OF_MESSAGE)
EXTENDED.extension.add(name="outside", number=101, **_OF_MESSAGE)
EXTENDED.enum_type.add(name="Top").value.add(name="TOP_NONE", number=0)
_methods = EXTENDED.service.add(name="Extended").method
_methods.add(name="Get", input_type=".extended.Message", output_type=".extended.Message")
OTHER = FileDescriptorProto(name="other.proto", package="extended", message_type=[{"name": "Other"}])
OTHER.service.add(name="Unserved")


def extended_service() -> Service:
    pool = DescriptorPool()
    timestamp = FileDescriptorProto()
    scm_pb2.DESCRIPTOR.pool.FindFileByName(TIMESTAMP).CopyToProto(timestamp)
    for file in (timestamp, EXTENDED, OTHER):
        pool.AddSerializedFile(file.SerializeToString())
    service = Service(pool.FindServiceByName("extended.Extended"))
    service.unimplemented("Get")
    return service


ROWS: list[tuple[dict[str, Any], list[str] | int]] = [
    *(
        ({"file_containing_symbol": f"extended.{name}"}, ["extended.proto", TIMESTAMP])
        for name in (
            *("Extended", "Extended.Get", "Message", "Message.at", "Message.either", "Message.one", "Message.Inner"),
            *("Message.Kind", "Message.KIND_NONE", "Message.Inner.inside", "outside", "Top", "TOP_NONE"),
        )
    ),
    *(
        ({"file_containing_symbol": name}, 5)
        for name in ("", "extended", "extended.Extende", "extended.Extended.Put", "extended.Top.TOP_NONE", "Message")
    ),
    ({"file_containing_symbol": "google.protobuf.Timestamp.seconds"}, [TIMESTAMP]),
    # In the pool, and not needed by a service.
    ({"file_containing_symbol": "extended.Other"}, 5),
    ({"file_containing_symbol": "extended.Unserved"}, 5),
    ({"file_containing_symbol": "tests.echo.v1.Echo"}, 5),
    ({"file_containing_symbol": "google.protobuf.Struct"}, 5),
    # In the details of errors.
    ({"file_containing_symbol": "google.rpc.Status"}, ["google/rpc/status.proto", ANY]),
    ({"file_containing_symbol": "google.rpc.BadRequest"}, ["google/rpc/error_details.proto", DURATION]),
    ({"file_by_filename": "extended.proto"}, ["extended.proto", TIMESTAMP]),
    ({"file_by_filename": TIMESTAMP}, [TIMESTAMP]),
    *(
        ({"file_by_filename": name}, 5)
        for name in ("other.proto", "google/protobuf/struct.proto", ECHO, "", "/etc/passwd", "../extended.proto")
    ),
    *(
        ({"file_containing_extension": ExtensionRequest(containing_type=name, extension_number=number)}, expected)
        for name, number, expected in (
            ("extended.Message", 101, ["extended.proto", TIMESTAMP]),
            ("extended.Message", 150, ["extended.proto", TIMESTAMP]),
            ("extended.Message", 102, 5),
            ("extended.Message", -1, 5),
            ("extended.Other", 101, 5),
            ("", 0, 5),
        )
    ),
    ({"all_extension_numbers_of_type": "extended.Other"}, 5),
    ({"all_extension_numbers_of_type": "extended.Top"}, 5),
    ({"all_extension_numbers_of_type": ""}, 5),
    ({}, 3),
    ({"host": "h"}, 3),
]


def test_requests() -> None:
    descriptors = Descriptors(services=[extended_service()])

    def check(fields: dict[str, Any], expected: list[str] | int) -> None:
        response = descriptors.respond(ServerReflectionRequest(**fields))
        assert (response.error_response.error_code or names(response)) == expected

    check_rows(check, ROWS)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [("extended.Message", [101, 150]), ("extended.Message.Inner", []), ("google.protobuf.Timestamp", [])],
)
def test_extension_numbers(name: str, numbers: list[int]) -> None:
    descriptors = Descriptors(services=[extended_service()])
    response = descriptors.respond(ServerReflectionRequest(all_extension_numbers_of_type=name))
    assert response.WhichOneof("message_response") == "all_extension_numbers_response"
    assert response.all_extension_numbers_response.base_type_name == name
    assert [*response.all_extension_numbers_response.extension_number] == numbers


def test_every_symbol_of_a_file_is_found() -> None:
    service = Service(
        every_field_pb2.DESCRIPTOR.services_by_name[next(iter(every_field_pb2.DESCRIPTOR.services_by_name))]
    )
    descriptors = Descriptors(services=[service])

    def symbols(messages: Any) -> Iterator[str]:
        for message in messages:
            yield message.full_name
            yield from (each.full_name for each in (*message.fields, *message.enum_types, *message.oneofs))
            yield from symbols(message.nested_types)

    found = [*symbols(every_field_pb2.DESCRIPTOR.message_types_by_name.values())]
    assert len(found) > 20
    for symbol in found:
        response = descriptors.respond(ServerReflectionRequest(file_containing_symbol=symbol))
        assert names(response)[0] == "tests/every_field.proto", symbol


# Who may ask


@pytest.mark.parametrize(
    ("debug", "key", "is_served"),
    [(False, None, False), (True, None, True), (True, False, False), (False, True, True), (False, "false", False)],
)
def test_it_is_on_in_debug_mode_or_by_its_key(debug: bool, key: bool | None, is_served: bool) -> None:
    def prepare(app: Flask) -> None:
        app.debug = debug

    app = echo_app(prepare=prepare, GRPC_REFLECTION=key)
    assert (INFO in app.extensions["grpcweb_scm"].dispatcher.methods) == is_served


SCOPED = {"methods": ["tests.echo.v1.Echo/*"]}
ALLOWED = {"methods": ["grpc.reflection.v1.ServerReflection/*"]}


@pytest.mark.parametrize(
    ("token", "code", "status"),
    [(None, 16, 401), ("wrong", 16, 401), ("scoped", 7, 403), ("allowed", 0, 200), (TOKEN, 0, 200)],
)
@pytest.mark.parametrize("debug", [False, True])
def test_callers_are_those_of_other_services(token: str | None, code: int, status: int, debug: bool) -> None:
    def prepare(app: Flask) -> None:
        app.debug = debug

    tokens = {TOKEN: {}, "scoped": SCOPED, "allowed": ALLOWED}
    app = echo_app(prepare=prepare, GRPC_REFLECTION=True, GRPC_AUTH_TOKENS=tokens, GRPC_DESCRIPTORS_PATH="/services")
    try:
        answers(app, {"list_services": ""}, token=token)
        found = 0
    except CallError as error:
        found = error.code
    assert found == code
    response = app.test_client().get("/services", headers={"Authorization": f"Bearer {token}"} if token else {})
    assert response.status_code == status
    assert (FileDescriptorSet.FromString(response.data).file[0].name == ECHO) if code == 0 else response.text


def test_requests_for_the_page_count() -> None:
    app = echo_app(GRPC_RATE_LIMITS="2/hour", GRPC_DESCRIPTORS_PATH="/services")
    found = [app.test_client().get("/services") for _ in range(3)]
    assert [response.status_code for response in found] == [200, 200, 429]
    assert int(found[2].headers["retry-after"]) > 0


# The set of descriptors


def test_the_page_and_the_command_have_the_same(tmp_path: Path) -> None:
    app = echo_app(GRPC_DESCRIPTORS_PATH="/services.binpb")
    response = app.test_client().get("/services.binpb")
    assert response.content_type == "application/x-protobuf"
    assert [file.name for file in FileDescriptorSet.FromString(response.data).file] == [ECHO, *ERROR_DETAILS]
    done = app.test_cli_runner().invoke(args=["grpc", "descriptors"])
    assert done.stdout_bytes == response.data
    assert "services.binpb" not in app.test_cli_runner().invoke(args=["grpc", "services"]).output


def test_a_page_of_the_app_comes_first() -> None:
    app = echo_app(GRPC_DESCRIPTORS_PATH="/services")
    app.add_url_rule("/services", "mine", lambda: "mine")
    assert app.test_client().get("/services").text == "mine"


def comment_of_first_service(files: FileDescriptorSet, name: str) -> list[str]:
    (file,) = [each for each in files.file if each.name == name]
    return [
        location.leading_comments.strip() for location in file.source_code_info.location if [*location.path] == [6, 0]
    ]


def test_comments_are_those_beside_the_modules() -> None:
    from flask_grpcweb_scm.scm import service

    files = Descriptors(services=[service]).file_set()
    (comment,) = comment_of_first_service(files, SCM)
    assert comment in (ROOT / "protos" / SCM).read_text().replace("// ", "").replace("//", "")
    assert Descriptors(services=[service]).file_set() == files


@pytest.mark.parametrize("module", [every_field_pb2, scm_pb2], ids=lambda module: module.__name__)
def test_a_file_is_as_protoc_has_it(module: Any) -> None:
    service = Service(next(iter(module.DESCRIPTOR.services_by_name.values())))
    path = Path(module.__file__).with_name(module.__name__.rpartition(".")[2].replace("_pb2", ".binpb"))
    (expected,) = FileDescriptorSet.FromString(path.read_bytes()).file
    found = Descriptors(services=[service]).file_set().file
    assert [file for file in found if file.name == expected.name] == [expected]


def commented(**fields: Any) -> FileDescriptorSet:
    file = FileDescriptorProto()
    file.CopyFrom(EXTENDED)
    file.MergeFrom(FileDescriptorProto(**fields))
    file.message_type[0].field[0].json_name = "at"
    file.source_code_info.location.add(path=[6, 0], span=[0, 0, 0], leading_comments="It is commented.")
    return FileDescriptorSet(file=[file])


@pytest.mark.parametrize(
    ("fields", "comments"),
    [({}, ["It is commented."]), ({"enum_type": [{"name": "New"}]}, []), ({"package": "extended2"}, [])],
)
def test_comments_of_the_same_file_only(fields: dict[str, Any], comments: list[str], tmp_path: Path) -> None:
    path = tmp_path / "extended.binpb"
    path.write_bytes(commented(**fields).SerializeToString())
    app = Flask(__name__)
    app.config.update(GRPC_SCM=False, GRPC_REQUIRE_AUTH=False, GRPC_REFLECTION=True, GRPC_DESCRIPTOR_SETS=str(path))
    GrpcWebScm(app, services=[extended_service()])
    (response,) = answers(app, {"file_by_filename": "extended.proto"})
    files = map(FileDescriptorProto.FromString, response.file_descriptor_response.file_descriptor_proto)
    assert comment_of_first_service(FileDescriptorSet(file=files), "extended.proto") == comments


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file"), (b"\xff" * 9, "it has no descriptors")])
def test_sets_that_cannot_be_read(content: bytes | None, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "none.binpb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"GRPC_DESCRIPTOR_SETS: '.*none\.binpb': {reason}"):
        echo_app(GRPC_DESCRIPTOR_SETS=str(path))
    with pytest.raises(ValueError, match=reason):
        read_sets([path])


# Other packages have the same messages

OTHERS = """
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto

def theirs():
    for module, path in (("health", "grpc_health/v1/"), ("reflection_v1alpha", "grpc_reflection/v1alpha/")):
        data = open(f"flask_grpcweb_scm/pb/{module}.binpb", "rb").read()
        file = FileDescriptorSet.FromString(data).file[0]
        file.name = path + "x.proto"
        file.message_type.add(name="Newer")
        descriptor_pool.Default().AddSerializedFile(file.SerializeToString())

def ours():
    from flask import Flask
    from flask_grpcweb_scm import GrpcWebScm
    app = Flask("x")
    app.testing = True
    app.config.update(GRPC_SCM=False, GRPC_HEALTH=True, GRPC_REFLECTION=True)
    GrpcWebScm(app)
    print(app.test_client().post("/grpc.health.v1.Health/Check", json={}).text)

from google.protobuf.descriptor_pb2 import FileDescriptorSet
"""


@pytest.mark.parametrize("implementation", ["upb", "python"])
@pytest.mark.parametrize("order", ["theirs(); ours()", "ours(); theirs()"])
@pytest.mark.needs("time")
def test_others_may_have_their_own_file_with_these_messages(order: str, implementation: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OTHERS + order],
        cwd=ROOT,
        env={"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.replace(" ", "") == '{"status":"SERVING"}\n', done.stderr


def test_the_messages_are_those_of_grpc() -> None:
    """By number, as grpcio-reflection and grpcio-health-checking have them."""
    numbers = {field.name: field.number for field in ServerReflectionRequest.DESCRIPTOR.fields}
    assert numbers == {
        "host": 1,
        "file_by_filename": 3,
        "file_containing_symbol": 4,
        "file_containing_extension": 5,
        "all_extension_numbers_of_type": 6,
        "list_services": 7,
    }
    numbers = {field.name: field.number for field in ServerReflectionResponse.DESCRIPTOR.fields}
    assert numbers == {
        "valid_host": 1,
        "original_request": 2,
        "file_descriptor_response": 4,
        "all_extension_numbers_response": 5,
        "list_services_response": 6,
        "error_response": 7,
    }
    ours, old = (FileDescriptorProto(), FileDescriptorProto())
    reflection_pb2.DESCRIPTOR.CopyToProto(ours)
    reflection_v1alpha_pb2.DESCRIPTOR.CopyToProto(old)
    as_new = old.SerializeToString().replace(b".v1alpha.", b".v1.")
    assert len(as_new) < len(old.SerializeToString())
    assert [message.name for message in ours.message_type] == [message.name for message in old.message_type]
    assert [[(f.name, f.number, f.type) for f in m.field] for m in ours.message_type] == [
        [(f.name, f.number, f.type) for f in m.field] for m in old.message_type
    ]


def test_services_are_listed_once() -> None:
    app = Flask(__name__)
    app.config.update(GRPC_SCM=False, GRPC_REQUIRE_AUTH=False, GRPC_REFLECTION=True, GRPC_HEALTH=True)
    GrpcWebScm(app, services=[echo_service(), extended_service()])
    (listed,) = answers(app, {"list_services": ""})
    services = [service.name for service in listed.list_services_response.service]
    assert services == sorted({*services})
    assert len(services) == 5
