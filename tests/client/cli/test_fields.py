"""Options for fields of every type, on a message made for that, and the same values printed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from google.protobuf import descriptor_pool, duration_pb2, json_format, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message_factory import GetMessageClass

from flask_grpcweb_scm.client.cli.fields import field_options, message_from
from flask_grpcweb_scm.client.cli.output import TablePrinter

IMPORTED = (timestamp_pb2, duration_pb2, wrappers_pb2)
SCALARS = ["double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string", "bytes", "uint32",
           "sfixed32", "sfixed64", "sint32", "sint64"]  # fmt: skip


def make_message_class() -> Any:
    file = FileDescriptorProto(
        name="tests/every.proto",
        package="tests.every",
        syntax="proto3",
        dependency=[module.DESCRIPTOR.name for module in IMPORTED],
    )
    kind = file.enum_type.add(name="Kind")
    for number, name in enumerate(["KIND_UNSPECIFIED", "KIND_GOOD", "KIND_NOT_GOOD"]):
        kind.value.add(name=name, number=number)
    message = file.message_type.add(name="Every")
    inner = message.nested_type.add(name="Inner")
    add(inner, "name", "string")
    for scalar in SCALARS:
        add(message, f"a_{scalar}", scalar)
        add(message, f"many_{scalar}", scalar, repeated=True)
    for name, value in [("texts", "string"), ("truths", "bool"), ("inners", ".tests.every.Every.Inner")]:
        entry = message.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        add(entry, "key", "string")
        add(entry, "value", value)
        add(message, name, f".tests.every.Every.{entry.name}", repeated=True)
    add(message, "kind", ".tests.every.Kind", enum=True)
    add(message, "kinds", ".tests.every.Kind", enum=True, repeated=True)
    add(message, "inner", ".tests.every.Every.Inner")
    add(message, "many_inner", ".tests.every.Every.Inner", repeated=True)
    add(message, "at", ".google.protobuf.Timestamp")
    add(message, "during", ".google.protobuf.Duration")
    add(message, "wrapped", ".google.protobuf.StringValue")
    add(message, "group_id", "int64")
    add(message, "external_id", "string")
    message.oneof_decl.add(name="choice")
    add(message, "this", "string", oneof_index=0)
    add(message, "that", "string", oneof_index=0)
    pool = descriptor_pool.Default()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("tests.every.Every"))


def add(message: Any, name: str, kind: str, *, repeated: bool = False, enum: bool = False, **more: Any) -> None:
    field = message.field.add(name=name, number=len(message.field) + 1, **more)
    field.label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
    if kind.startswith("."):
        field.type_name = kind
        field.type = FieldDescriptorProto.TYPE_ENUM if enum else FieldDescriptorProto.TYPE_MESSAGE
    else:
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")


Every = make_message_class()


def run(*arguments: str) -> tuple[Result, Any]:
    """The result of a command with an option for each field, and the message that the options make."""
    made = []

    def callback(**parameters: Any) -> None:
        made.append(message_from(Every, parameters))

    command = click.Command("every", params=list(field_options(Every.DESCRIPTOR, {})), callback=callback)
    return CliRunner().invoke(command, arguments), next(iter(made), None)


def rows() -> Iterator[tuple[list[str], Any]]:
    good = {
        "bool": None,
        "string": ("é", "é"),
        "bytes": ("AP8=", b"\0\xff"),
        "double": ("-1.5", -1.5),
        "float": ("0.5", 0.5),
    }
    for scalar in SCALARS:
        text, value = good.get(scalar, ("7", 7)) or ("true", True)
        flag = f"--a-{scalar}"
        yield ([flag] if scalar == "bool" else [flag, text]), {f"a_{scalar}": value}
        yield [f"--many-{scalar}", text, f"--many-{scalar}", text], {f"many_{scalar}": [value, value]}


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        ([], {}),
        *rows(),
        (["--no-a-bool"], {}),
        (["--texts", "a=1=2", "--texts", "b="], {"texts": {"a": "1=2", "b": ""}}),
        (["--truths", "a=yes", "--truths", "b=no"], {"truths": {"a": True, "b": False}}),
        (["--inners", 'a={"name": "x"}'], {"inners": {"a": Every.Inner(name="x")}}),
        (["--kind", "not_good"], {"kind": 2}),
        (["--kinds", "GOOD", "--kinds", "not_good"], {"kinds": [1, 2]}),
        (["--inner", '{"name": "x"}'], {"inner": {"name": "x"}}),
        (["--inner", "{}"], {"inner": {}}),
        (["--many-inner", '{"name": "x"}', "--many-inner", "{}"], {"many_inner": [{"name": "x"}, {}]}),
        (["--at", "2026-01-02T03:04:05Z"], {"at": timestamp_pb2.Timestamp(seconds=1767323045)}),
        (["--during", "1.5s"], {"during": duration_pb2.Duration(seconds=1, nanos=500_000_000)}),
        (["--wrapped", "text"], {"wrapped": wrappers_pb2.StringValue(value="text")}),
        (["--group", "7"], {"group_id": 7}),
        (["--group-id", "-7"], {"group_id": -7}),
        (["--external-id", "x"], {"external_id": "x"}),
        (["--this", "x"], {"this": "x"}),
    ],
)  # fmt: skip
def test_an_option_sets_its_field(arguments: list[str], fields: dict[str, Any]) -> None:
    result, message = run(*arguments)
    assert result.exit_code == 0, result.output
    assert message == Every(**fields)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--a-int32", "2147483648"], "out of range"),
        (["--a-uint32", "-1"], "out of range"),
        (["--a-int64", "1.5"], "not a valid integer"),
        (["--a-double", "x"], "not a valid float"),
        (["--a-bytes", "%"], "'%' is not base64"),
        (["--a-string", "\udcff"], "a_string"),
        (["--kind", "unspecified"], "is not one of 'good', 'not_good'"),
        (["--inner", "x"], "'x' is not JSON"),
        (["--inner", '"x"'], "not an object"),
        (["--inner", '{"nam": 1}'], 'no field named "nam"'),
        (["--at", "yesterday"], "is not a Timestamp as 2026-01-31T12:00:00Z: "),
        (["--truths", "a=perhaps"], "is not a valid boolean"),
        (["--texts", "a"], "is not KEY=VALUE"),
        (["--external", "x"], "No such option"),
        (["--this", "x", "--that", "y"], "oneof"),
    ],
)
def test_a_value_of_another_type_is_said(arguments: list[str], message: str) -> None:
    result, made = run(*arguments)
    assert (result.exit_code, made) == (2, None)
    assert message in result.output


def test_every_value_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    values = {
        "aBytes": "AP8=", "aBool": True, "manyBool": [True, False], "texts": {"b": "2", "a": "1"},
        "kinds": ["KIND_GOOD", "KIND_NOT_GOOD"], "inner": {"name": "x"}, "at": "2026-01-02T03:04:05Z",
    }  # fmt: skip
    TablePrinter(Every.DESCRIPTOR).print(json_format.ParseDict(values, Every()))
    printed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if len(line.split()) > 1)
    assert {
        "a_bytes": "AP8=", "a_bool": "true", "many_bool": "true, false", "texts": "a=1, b=2",
        "kinds": "good, not_good", "inner": '{"name": "x"}', "at": "2026-01-02T03:04:05Z",
    }.items() <= printed.items()  # fmt: skip
    assert "during" not in printed
