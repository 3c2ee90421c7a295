"""The text of generated modules: names, imports and docstrings; and what they do when they run."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from flask_grpcweb_scm import CallContext, Service, ServiceDefinitionError
from flask_grpcweb_scm.codegen import comments_of, message_classes, messages_module, services_module, services_text
from flask_grpcweb_scm.codegen.services import SERVICE_ATTRIBUTES
from tests.echo_pb2 import DESCRIPTOR, EchoReply, EchoRequest
from tests.echo_rpc import Echo

MESSAGE = ".acme.Message"


def proto(
    *methods: str, name: str = "acme/things.proto", service: str = "Things", message: str = MESSAGE
) -> FileDescriptorProto:
    """A file with a message, and a service with unary methods for it."""
    file = FileDescriptorProto(name=name, package="acme")
    file.message_type.add(name="Message").nested_type.add(name="Inner")
    added = file.service.add(name=service)
    for method in methods:
        added.method.add(name=method, input_type=message, output_type=message)
    return file


def text_of(file: FileDescriptorProto, *others: FileDescriptorProto) -> str:
    text = services_text(file, message_classes([file, *others]))
    compile(text, "text", "exec", dont_inherit=True)
    return text


def with_comment(comment: str, *path: int) -> FileDescriptorProto:
    file = proto("Get")
    file.source_code_info.location.add(path=path or (6, 0, 2, 0), leading_comments=comment)
    return file


def definitions(text: str) -> Iterator[ast.ClassDef | ast.FunctionDef]:
    return (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef | ast.FunctionDef))


def names_in(text: str) -> list[str]:
    return [node.name for node in definitions(text) if node.name not in ("__init__", "unimplemented")]


def imports_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if "_pb2" in line and "import" in line]


# Modules


@pytest.mark.parametrize(
    ("file", "messages"),
    [
        ("greeter.proto", "greeter_pb2"),
        ("acme/v1/greeter.proto", "acme.v1.greeter_pb2"),
        ("acme/my-things.proto", "acme.my_things_pb2"),
        ("acme/v1.2/things.proto", "acme.v1.2.things_pb2"),
        ("things.protodevel", "things_pb2"),
        ("proto.proto.proto", "proto.proto_pb2"),
        ("things", "things_pb2"),
    ],
)
def test_modules_are_named_as_protoc_does(file: str, messages: str) -> None:
    assert messages_module(file) == messages
    assert services_module(file) == messages.removesuffix("_pb2") + "_rpc"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("things.proto", "import things_pb2"),
        ("acme/things.proto", "from acme import things_pb2"),
        ("acme/v1/things.proto", "from acme.v1 import things_pb2"),
        ("async/things.proto", 'things_pb2 = import_module("async.things_pb2")'),
        ("acme/1/things.proto", 'things_pb2 = import_module("acme.1.things_pb2")'),
        ("1st.proto", '_1st_pb2 = import_module("1st_pb2")'),
        ("if.proto", "import if_pb2"),
        ("__private.proto", "import __private_pb2 as _private_pb2"),
    ],
)
def test_the_messages_are_imported(name: str, line: str) -> None:
    assert imports_of(text_of(proto("Get", name=name))) == [line]


def test_messages_of_other_files_come_from_their_modules() -> None:
    file = proto("Get", "List")
    file.service[0].method[0].input_type = ".other.Message"
    file.service[0].method[1].output_type = ".NoPackage.Inner"
    other = FileDescriptorProto(name="other/things.proto", package="other")
    other.message_type.add(name="Message")
    third = FileDescriptorProto(name="third.proto")
    third.message_type.add(name="NoPackage").nested_type.add(name="Inner")
    text = text_of(file, other, third)
    assert imports_of(text) == [
        "import third_pb2",
        "from acme import things_pb2",
        "from other import things_pb2 as things_pb2_",
    ]
    assert "UnaryFunction[things_pb2_.Message, things_pb2.Message]" in text
    assert "UnaryFunction[things_pb2.Message, third_pb2.NoPackage.Inner]" in text


@pytest.mark.parametrize(
    ("name", "message", "types"),
    [
        ("things.proto", ".acme.Message.Inner", "things_pb2.Message.Inner"),
        ("async/things.proto", MESSAGE, "Any"),
        ("things.proto", ".acme.None", "Any"),
    ],
)
def test_messages_without_a_name_in_python_are_any(name: str, message: str, types: str) -> None:
    file = proto("Get", name=name, message=message)
    file.message_type.add(name="None")
    assert f"bound=UnaryFunction[{types}, {types}]," in text_of(file)


def test_types_of_messages_with_underscores_are_the_same_in_a_class() -> None:
    file = proto("Get", message=".acme.__Private")
    file.message_type.add(name="__Private")
    assert "def Get(self, function: _Private_to___Private, /)" in text_of(file)


# Names


def test_the_attributes_of_services_are_known() -> None:
    own = set(dir(Echo())) - set(dir(object)) - {method.name for method in Echo().descriptor.methods}
    assert {name for name in own if not name.startswith("__")} == SERVICE_ATTRIBUTES


@pytest.mark.parametrize(
    ("methods", "names"),
    [
        (["Get", "get"], ["Get", "get"]),
        (["rpc"], ["rpc_"]),
        (["rpc", "rpc_"], ["rpc__", "rpc_"]),
        (["rpc_", "rpc", "rpc__"], ["rpc_", "rpc___", "rpc__"]),
        (["name", "intercept", "_errors"], ["name_", "intercept_", "_errors_"]),
        (["import", "None", "async"], ["import_", "None_", "async_"]),
        (["match", "self", "function", "type"], ["match", "self", "function", "type"]),
        (["Any", "overload", "bool", "Literal"], ["Any_", "overload_", "bool_", "Literal_"]),
        (["__init__", "__slots__", "__private"], ["__init___", "__slots___", "__private___"]),
        (["things_pb2", "Message"], ["things_pb2", "Message"]),
    ],
)
def test_decorators_are_named_as_the_methods(methods: list[str], names: list[str]) -> None:
    text = text_of(proto(*methods))
    assert [name for name in names_in(text) if name != "Things"] == names
    assert all(f'self.rpc("{method}")' in text for method in methods)


@pytest.mark.parametrize(
    ("service", "name"),
    [("Things", "Things"), ("Service", "Service_"), ("super", "super_"), ("class", "class_"), ("Any", "Any_")],
)
def test_classes_are_named_as_the_services(service: str, name: str) -> None:
    text = text_of(proto("Get", service=service))
    assert names_in(text) == [name, "Get"]
    assert f'services_by_name["{service}"]' in text


def test_a_service_keeps_its_name_before_a_module_does() -> None:
    text = text_of(proto("Get", service="things_pb2"))
    assert "class things_pb2(Service):" in text
    assert imports_of(text) == ["from acme import things_pb2 as things_pb2_"]


# Docstrings


@pytest.mark.parametrize(
    ("comment", "docstring"),
    [
        (" Gets one.\n", "Gets one."),
        ("Gets one.", "Gets one."),
        (" Gets one,\n or none.\n", "Gets one,\nor none.\n"),
        ("\n\n Gets one:\n   - this\n\n   - that\n\n", "Gets one:\n  - this\n\n  - that\n"),
        (" Grüße, 你好, 🎉\n", "Grüße, 你好, 🎉"),
        (' says "no"\n', 'says "no"'),
        (' "no" is said\n', '"no" is said'),
        (' """\n', '"""'),
        (' a """ b """"\n c"\n', 'a """ b """"\nc"\n'),
        (" back\\slash \\n \\u0041 \\N{BULLET} \\\n", "back\\slash \\n \\u0041 \\N{BULLET} \\"),
        (' ends \\"\n', 'ends \\"'),
        (' \\"""\n \\\n', '\\"""\n\\\n'),
        (" {braces} %s '''\n", "{braces} %s '''"),
        (" a\r\n b\r c\x0c\x00\u202e\n", "a\nb\nc\x0c\x00\u202e\n"),
        (" \t \n", ""),
        ("", ""),
    ],
)
@pytest.mark.parametrize("path", [(6, 0), (6, 0, 2, 0)], ids=["service", "method"])
def test_comments_become_docstrings(comment: str, docstring: str, path: tuple[int, ...]) -> None:
    text = text_of(with_comment(comment, *path))
    assert [found for node in definitions(text) if (found := _docstring(node))] == [docstring] * bool(docstring)
    assert text.isprintable() or set(filter(lambda character: not character.isprintable(), text)) == {"\n"}


def _docstring(node: ast.ClassDef | ast.FunctionDef) -> str:
    """Return what is in the source: without the indent of the lines, which is no part of a comment."""
    lines = (ast.get_docstring(node, clean=False) or "").split("\n")
    indent = node.col_offset + 4
    assert all(not line[:indent].strip() for line in lines[1:])
    return "\n".join([lines[0], *(line[indent:] for line in lines[1:])])


def test_a_comment_behind_a_method_counts_when_there_is_none_before() -> None:
    file = proto("Get")
    file.source_code_info.location.add(path=(6, 0, 2, 0), trailing_comments=" Gets one.\n")
    assert '"""Gets one."""' in text_of(file)


def test_deprecated_methods_and_services_say_so() -> None:
    file = with_comment(" Gets one.\n")
    file.service[0].options.deprecated = file.service[0].method[0].options.deprecated = True
    docstrings = [found for node in definitions(text_of(file)) if (found := ast.get_docstring(node))]
    assert docstrings == ["Deprecated.", "Gets one.\n\nDeprecated."]


@pytest.mark.parametrize("name", ['a"""b.proto', "a\nimport os\n.proto", "a\\.proto", "é.proto"])
def test_the_name_of_a_file_stays_a_text(name: str) -> None:
    tree = ast.parse(text_of(proto(name=name)))
    assert ast.get_docstring(tree) == f"The services of {name}."
    assert not any(isinstance(node, ast.Import) and node.names[0].name == "os" for node in tree.body)


def test_the_same_file_gives_the_same_text() -> None:
    files = [proto("Get", "List"), proto("Get", "List")]
    assert text_of(files[0]) == text_of(files[1])
    assert "def " not in text_of(proto()).partition("__init__")[2]


# Functions


def _unary(request: EchoRequest, context: CallContext) -> EchoReply:
    return EchoReply()


def _stream(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
    yield EchoReply()


def _unary_of_stream(requests: Iterator[EchoRequest], context: CallContext) -> EchoReply:
    return EchoReply()


def _stream_of_stream(requests: Iterator[EchoRequest], context: CallContext) -> Iterator[EchoReply]:
    yield EchoReply()


def _list(request: EchoRequest, context: CallContext) -> list[EchoReply]:
    return [EchoReply()]


def test_a_typed_service_is_the_untyped_one_with_the_same_functions() -> None:
    typed, untyped = Echo(), Service(DESCRIPTOR.services_by_name["Echo"])
    assert typed.Unary(_unary) is untyped.rpc("Unary")(_unary) is _unary
    assert typed.ServerStream(batch=True)(_list) is untyped.rpc("ServerStream", batch=True)(_list) is _list
    assert typed.ClientStream(_unary_of_stream) is untyped.rpc("ClientStream")(_unary_of_stream)
    assert typed.Bidi(_stream_of_stream) is untyped.rpc("Bidi")(_stream_of_stream)
    assert typed.Missing(_unary) is untyped.rpc("Missing")(_unary)
    for path, method in untyped.methods().items():
        other = typed.methods()[path]
        assert (other.function, other.batch) == (method.function, method.batch)
        assert (other.request_class, other.response_class) == (method.request_class, method.response_class)


def test_a_stream_is_bound_without_parentheses_too() -> None:
    service = Echo()
    assert service.ServerStream(_stream) is _stream
    service.Unary(_unary)
    service.unimplemented("ClientStream", "Bidi", "Missing")
    assert not service.methods()["/tests.echo.v1.Echo/ServerStream"].batch


@pytest.mark.parametrize(
    ("bind", "message"),
    [
        (lambda echo: echo.ServerStream(_unary), "must yield them"),
        (lambda echo: echo.Unary(_stream), "must return it"),
        (lambda echo: echo.Unary(_unary) and echo.Unary(_unary), "bound twice"),
        (lambda echo: echo.Unary(lambda request: EchoReply()), r"must take \(request, context\)"),
    ],
)
def test_what_no_type_checker_saw_fails_at_start(bind: Callable[[Echo], object], message: str) -> None:
    with pytest.raises(ServiceDefinitionError, match=message):
        bind(Echo())


def test_a_misspelt_decorator_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="'Echo' object has no attribute 'Unari'"):
        Echo().Unari  # type: ignore[attr-defined]  # noqa: B018


def test_docstrings_are_for_readers_at_run_time_too() -> None:
    assert inspect.getdoc(Echo) == "One method of each kind, for the tests."


# Comments, whose encoding protoc does not look at


def commented(comment: bytes) -> FileDescriptorProto:
    location = b"\x0a\x02\x06\x00\x1a" + bytes([len(comment)]) + comment
    info = b"\x0a" + bytes([len(location)]) + location
    return FileDescriptorProto.FromString(b"\x4a" + bytes([len(info)]) + info)


def test_comments_by_path() -> None:
    assert comments_of(commented("café".encode())) == {(6, 0): "café"}


def test_what_is_no_utf_8_is_replaced() -> None:
    assert comments_of(commented("café".encode("latin-1"))) == {(6, 0): "caf\ufffd"}
