"""``flask grpc init``: what it writes runs, is typed, and overwrites nothing."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import urllib.request
import venv
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flask_grpcweb_scm.cli import grpc_cli
from flask_grpcweb_scm.cli.project import project_files
from tests.codegen.hostile import run_protoc
from tests.documents import ROOT
from tests.mypy_runs import assert_only_marked_errors
from tests.servers import free_port, listening
from tests.test_proto import require_generator
from tests.wheel import build_wheel, make_environment

WRITTEN = [
    "greeter.proto",
    "greeter_pb2.py",
    "greeter_pb2.pyi",
    "greeter_rpc.py",
    "app.py",
    "test_app.py",
    "ruff.toml",
]
PAGE = ["static/index.html", "static/greeter.js"]


def init(*arguments: str | Path) -> Result:
    return CliRunner().invoke(grpc_cli, ["init", *map(str, arguments)])


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def flask(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run flask as somebody would who has installed the package."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("FLASK_")}
    command = [str(Path(sys.executable).with_name("flask")), *arguments]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(("options", "names"), [([], WRITTEN), (["--js"], WRITTEN + PAGE)])
def test_it_writes_and_names_the_files(tmp_path: Path, options: list[str], names: list[str]) -> None:
    folder = tmp_path / "a folder/of mine, größer"
    result = init(folder, *options)
    assert (result.exit_code, result.stdout.splitlines()) == (0, [str(folder / name) for name in names])
    assert files_in(folder) == set(names)
    assert f"cd '{folder}'" in result.stderr


def test_a_folder_that_begins_with_a_dash_is_no_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "  cd ./-shop\n" in init("--", "-shop").stderr


def test_its_help_lists_the_files() -> None:
    lines = init("--help").output.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ") and ".py " in line] == [
        "greeter_pb2.py",
        "greeter_rpc.py",
        "app.py",
        "test_app.py",
    ]


@pytest.mark.needs("time")
def test_it_needs_no_app_and_writes_into_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "wsgi.py").write_text("raise Exception('not loaded')")
    done = flask(tmp_path, "grpc", "init")
    assert (done.returncode, done.stdout.splitlines()) == (0, WRITTEN), done.stderr
    assert "  flask --app app run" in done.stderr
    assert "  cd" not in done.stderr
    called = flask(tmp_path, "--app", "app", "grpc", "call", "SayHello", '{"name": "Ann"}')
    assert (json.loads(called.stdout), called.stderr) == ({"text": "Hello Ann"}, "")


# Names


@pytest.mark.parametrize(
    ("name", "problem", "suggested"),
    [
        ("my-app", "snake_case", "my_app"),
        ("PriceList", "snake_case", "price_list"),
        ("my app", "snake_case", "my_app"),
        ("a.b", "snake_case", "a_b"),
        ("../up", "snake_case", "up"),
        ("a__b", "snake_case", "a_b"),
        ("_a", "snake_case", "a"),
        ("a\n", "snake_case", "a"),
        ("grüezi", "snake_case", "gruezi"),
        ("\uff41", "snake_case", "a"),
        ("2fa", "snake_case", "my_2fa"),
        ("日本", "snake_case", "price_list"),
        ("", "snake_case", "price_list"),
        ("class", "something else in Python", "class_service"),
        ("match", "something else in Python", "match_service"),
        ("none", "something else in Python", "none_service"),
        ("list", "something else in Python", "list_service"),
        ("value_error", "something else in Python", "value_error_service"),
        ("app", "in the app", "app_service"),
        ("flask", "in the app", "flask_service"),
        ("request", "in the app", "request_service"),
        ("hello_reply", "in the app", "hello_reply_service"),
        ("say_hello", "in the app", "say_hello_service"),
        ("service", "in the app", "service_service"),
        ("type_var", "in the app", "type_var_service"),
        ("bidirectional_function", "in the app", "bidirectional_function_service"),
        ("test", "pytest", "my_test"),
        ("test_shop", "pytest", "my_test_shop"),
        ("x" * 41, "longer than 40", "x" * 30),
    ],
)
def test_a_name_that_cannot_be_is_refused_with_one_that_can(
    tmp_path: Path, name: str, problem: str, suggested: str
) -> None:
    result = init(tmp_path / "new", f"--name={name}")
    said = " ".join(result.stderr.split())
    assert (result.exit_code, problem in said) == (2, True), said
    assert said.endswith(
        f"{name!r} {said.partition(f'{name!r} ')[2].partition(';')[0]}; give it a name such as {suggested!r}"
    )
    assert not (tmp_path / "new").exists()
    assert init(tmp_path / "new", "--name", suggested).exit_code == 0


NAMES = ["greeter", "price_list", "greeters", "my_greeter", "a1", "name", "google", "grpc", "message", "x" * 40]


@pytest.mark.needs("time")
@pytest.mark.parametrize("name", NAMES)
def test_the_generated_files_are_what_protoc_and_the_plugin_write(tmp_path: Path, name: str) -> None:
    require_generator()
    files = project_files(name, js=False)
    (tmp_path / f"{name}.proto").write_text(files[f"{name}.proto"])
    run_protoc(tmp_path, "-I.", "--python_out=.", "--pyi_out=.", "--flask-grpc_out=.", f"{name}.proto")
    for path in (f"{name}_pb2.pyi", f"{name}_rpc.py"):
        assert files[path] == (tmp_path / path).read_text()
    messages, expected = files[f"{name}_pb2.py"], (tmp_path / f"{name}_pb2.py").read_text()
    assert (messages == expected) == (name == "greeter")
    # Bytes have more than one literal.
    assert ast.dump(ast.parse(messages)) == ast.dump(ast.parse(expected))
    assert [line for line in messages.splitlines() if "AddSerializedFile" not in line] == [
        line for line in expected.splitlines() if "AddSerializedFile" not in line
    ]


# Files that are there


@pytest.mark.parametrize("name", [*WRITTEN, *PAGE])
@pytest.mark.parametrize("kind", ["file", "empty file", "link", "dead link"])
def test_a_file_that_is_there_is_replaced_by_force_only(tmp_path: Path, name: str, kind: str) -> None:
    folder, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    present = folder / name
    present.parent.mkdir(parents=True)
    if kind != "dead link":
        elsewhere.write_text("" if kind == "empty file" else "mine\n")
    if "link" in kind:
        present.symlink_to(elsewhere)
    else:
        elsewhere.rename(present)
    result = init(folder, "--js")
    assert result.exit_code == 1
    assert (
        result.output
        == f"Error: {name} in '{folder}' would be overwritten; name another folder, or replace with --force\n"
    )
    assert files_in(folder) == {name}
    assert init(folder, "--js", "--force").exit_code == 0
    assert files_in(folder) == {*WRITTEN, *PAGE}
    assert present.read_text() == project_files("greeter", js=True)[name]
    assert not present.is_symlink()
    if kind == "link":
        assert elsewhere.read_text() == "mine\n"


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    assert init(tmp_path, "--force").exit_code == 0
    assert (tmp_path / "README.md").read_text() == "mine"


def test_what_is_there_already_is_named_in_whole(tmp_path: Path) -> None:
    assert init(tmp_path).exit_code == 0
    assert init(tmp_path, "--js").output.startswith(f"Error: {', '.join(WRITTEN)} in ")
    assert init(tmp_path, "--name", "shop").output.startswith("Error: app.py, test_app.py, ruff.toml in ")


def test_a_package_that_would_be_imported_in_place_of_a_file_is_seen(tmp_path: Path) -> None:
    for package in ("app", "greeter/__init__.py"):
        (tmp_path / package).mkdir(parents=True)
    assert init(tmp_path, "--force").exit_code == 0
    (tmp_path / "app/__init__.py").touch()
    result = init(tmp_path, "--force")
    message = f"Error: app/ would hide app.py from Python in '{tmp_path}'; name another folder\n"
    assert (result.exit_code, result.output) == (1, message)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = init(tmp_path / "file/below")
    assert (result.exit_code, "cannot be written: Not a directory" in result.output) == (1, True)
    assert "is a file" in " ".join(init(tmp_path / "file").output.split())


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("test_app.py/", "test_app.py is a folder in '.'; name another folder"),
        ("static/index.html/", "static/index.html is a folder in '.'; name another folder"),
        ("static", "static cannot be written: File exists"),
    ],
)
def test_what_force_cannot_replace_is_seen_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if path.endswith("/"):
        (tmp_path / path).mkdir(parents=True)
    else:
        (tmp_path / path).touch()
    result = init("--js", "--force")
    assert (result.exit_code, result.output) == (1, f"Error: {message}\n")
    assert files_in(tmp_path) <= {path}


# It runs


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("the project")
    assert init(folder, "--js").exit_code == 0
    return folder


@pytest.mark.needs("pytest")
def test_its_tests_pass(project: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:randomly"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)
    assert "3 passed" in done.stdout, done.stdout


@pytest.mark.needs("mypy")
def test_it_is_typed(project: Path) -> None:
    assert_only_marked_errors(project, "app.py", "test_app.py", "greeter_rpc.py")


@pytest.mark.needs("ruff")
def test_its_style_is_that_of_ruff(project: Path) -> None:
    ruff = shutil.which("ruff", path=f"{ROOT / '.venv-lint/bin'}:{os.environ['PATH']}")
    if ruff is None:
        pytest.skip("ruff is not installed; run: make lint")
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run([ruff, *command, "--no-cache", "."], cwd=project, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.needs("server")
def test_it_is_served_with_its_page(project: Path, tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "flask", "--app", str(project / "app"), "run", "--port", str(port)]
    with listening(command, port, tmp_path / "log"):
        url = f"http://127.0.0.1:{port}"
        request = urllib.request.Request(
            f"{url}/greeter.v1.Greeter/SayHello", b'{"name": "Ann"}', {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as response:
            assert json.load(response) == {"text": "Hello Ann"}
        with urllib.request.urlopen(url) as response:
            assert "/static/greeter.js" in response.read().decode()
    assert "Warning: RPCs" not in (tmp_path / "log").read_text()


# From the wheel


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, which knows nothing of the checkout."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder / "venv", with_pip=False)
    make_environment(folder / "venv", build_wheel(folder))
    return folder / "venv/bin"


@pytest.mark.needs("time")
def test_the_wheel_has_all_that_it_takes(environment: Path, tmp_path: Path) -> None:
    def run(*command: str) -> str:
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("FLASK_", "PYTHON"))}
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr.count("Error")) == (0, 0), done.stderr + done.stdout
        return done.stdout

    python, flask = str(environment / "python"), str(environment / "flask")
    assert str(ROOT) not in run(python, "-c", "import flask_grpcweb_scm; print(flask_grpcweb_scm.__file__)")
    assert run(flask, "grpc", "init", "--js").splitlines() == WRITTEN + PAGE
    assert "SayHello" in run(flask, "--app", "app", "grpc", "services")
    assert "3 passed" in run(python, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:randomly")
