"""``flask grpc stubs``: printed, written and checked."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from tests import echo_pb2, echo_rpc
from tests.apps import echo_app

COMMITTED = Path(echo_rpc.__file__ or "").read_text()
MODULE = "moved.echo_pb2"


def run(*arguments: str) -> Result:
    return echo_app().test_cli_runner().invoke(args=["grpc", "stubs", *arguments])


@pytest.fixture
def moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The module of Echo in a package that protoc knows nothing of; yields the path of its services."""
    folder = tmp_path / "moved"
    folder.mkdir()
    (folder / "echo_pb2.py").write_text("from tests.echo_pb2 import *\nfrom tests.echo_pb2 import DESCRIPTOR")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder / "echo_rpc.py"
    sys.modules.pop(MODULE, None)
    sys.modules.pop("moved", None)


def descriptors(path: Path, *, service: str = "Echo", comment: str = " Of another.\n") -> str:
    """Write descriptors with a comment, and return the name of the file."""
    file = FileDescriptorProto()
    echo_pb2.DESCRIPTOR.CopyToProto(file)
    file.service[0].name = service
    if comment:
        file.source_code_info.location.add(path=[6, 0, 2, 0], leading_comments=comment)
    path.write_bytes(FileDescriptorSet(file=[FileDescriptorProto(name="other.proto"), file]).SerializeToString())
    return str(path)


@pytest.mark.parametrize("name", ["tests.echo_pb2", "tests.echo.v1.Echo"])
def test_it_prints_what_the_plugin_writes_without_comments(name: str) -> None:
    text = run(name).output
    docstring = re.compile(r'^ +""".*?"""\n+', re.DOTALL | re.MULTILINE)
    assert docstring.search(COMMITTED)
    assert text == docstring.sub("", COMMITTED)


def test_services_and_modules_of_one_file_are_one_text() -> None:
    assert run("tests.echo_pb2", "tests.echo.v1.Echo").output == run("tests.echo_pb2").output
    assert run("tests.echo_pb2", "tests.every_field_pb2").output.count("DO NOT EDIT") == 2


def test_what_the_plugin_wrote_is_current_whatever_its_comments() -> None:
    result = run("--check", "tests.echo_pb2", "example_app.dice_pb2", "flask_grpcweb_scm.pb.scm_pb2")
    assert (result.exit_code, result.output) == (0, "")


def test_a_module_that_was_moved_is_imported_from_where_it_is(moved: Path) -> None:
    result = run("--check", MODULE)
    assert (result.exit_code, result.output) == (1, f"{moved} is missing; run: flask grpc stubs --write {MODULE}\n")
    assert run("--write", MODULE).output == f"{moved}\n"
    assert "from moved import echo_pb2\n" in moved.read_text()
    assert run("--check", MODULE).output == ""
    assert run("--write", MODULE).output == ""


@pytest.mark.parametrize(
    ("changed", "stale"),
    [
        (("", ""), False),
        (('"""The', '"""All the'), True),
        (("class Echo(Service):\n", 'class Echo(Service):\n    """Mine."""\n\n'), False),
        (("# fmt: off\n", "# fmt: off\n# reviewed\n"), False),
        (("from moved import echo_pb2\n", "from . import echo_pb2\n"), False),
        (("from moved import echo_pb2\n", "from .. import echo_pb2\n"), True),
        (("from moved import echo_pb2\n", "import echo_pb2\n"), True),
        (('services_by_name["Echo"]', "services_by_name['Echo']"), False),
        (('self.rpc("Unary")', 'self.rpc("Other")'), True),
        (("echo_pb2.EchoReply]", "echo_pb2.EchoRequest]"), True),
        (("def Missing(", "def Missed("), True),
        (("class Absent", "class ("), True),
    ],
)
def test_a_change_makes_it_stale_unless_it_means_the_same(moved: Path, changed: tuple[str, str], stale: bool) -> None:
    run("--write", MODULE)
    fresh = moved.read_text()
    assert changed[0] in fresh
    moved.write_text(fresh.replace(*changed))
    result = run("--check", MODULE)
    assert result.exit_code == stale
    assert result.output == f"{moved} is stale; run: flask grpc stubs --write {MODULE}\n" * stale
    run("--write", MODULE)
    assert (moved.read_text() == fresh) == (stale or changed == ("", ""))


def test_comments_come_from_descriptors_that_have_them(moved: Path, tmp_path: Path) -> None:
    file = descriptors(tmp_path / "echo.binpb")
    assert '        """Of another."""\n' in run("--comments", file, "tests.echo_pb2").output
    run("--write", MODULE)
    assert run("--check", "--comments", file, MODULE).exit_code == 1
    run("--write", "--comments", file, MODULE)
    assert '"""Of another."""' in moved.read_text()
    assert run("--check", "--comments", file, MODULE).exit_code == 0
    assert run("--check", MODULE).exit_code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [({"service": "Other"}, "do not have tests/echo.proto with the same"), ({"comment": ""}, "--include_source_info")],
)
def test_comments_of_something_else_are_refused(options: dict[str, str], message: str, tmp_path: Path) -> None:
    result = run("--comments", descriptors(tmp_path / "echo.binpb", **options), "tests.echo_pb2")
    assert (result.exit_code, message in result.output) == (2, True)


def test_a_file_that_somebody_wrote_is_left_alone(moved: Path) -> None:
    moved.write_text("mine = True\n")
    result = run("--write", MODULE)
    assert (result.exit_code, result.output) == (1, f"Error: {moved} is not generated; move it out of the way\n")
    assert moved.read_text() == "mine = True\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'MODULE|SERVICE...'"),
        (
            ["nowhere_pb2"],
            "'nowhere_pb2' is no service of this app, and no module: No module named 'nowhere_pb2'; name",
        ),
        (["tests.echo.v1.Ecko"], "did you mean 'tests.echo.v1.Echo'?"),
        ([""], "'' is no service of this app, and no module"),
        ([".echo_pb2"], "'.echo_pb2' is no service of this app, and no module"),
        (["tests.echo_rpc"], "the module tests.echo_rpc has no services"),
        (["google.protobuf.empty_pb2"], "the module google.protobuf.empty_pb2 has no services"),
        (["--check", "--write", "tests.echo_pb2"], "--write and --check exclude each other"),
        (["--comments", __file__, "tests.echo_pb2"], "protoc --descriptor_set_out"),
    ],
)
def test_a_mistake_is_named(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
