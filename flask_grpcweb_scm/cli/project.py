"""``flask grpc init``: a project with a service, which runs at once."""

from __future__ import annotations

import ast
import builtins
import keyword
import re
import shlex
import unicodedata
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import click
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

from flask_grpcweb_scm.codegen import message_classes, services_text

__all__ = ["OWN_NAME", "check_name", "next_steps", "project_files", "write_files"]

OWN_NAME = "greeter"
"""The name in the templates, which others take the place of."""
_TEMPLATES = resources.files("flask_grpcweb_scm.cli") / "template"
_MAX_NAME = 40
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", re.ASCII)


def check_name(context: click.Context, param: click.Parameter, name: str) -> str:
    """Return the name of a service, as its files have it.

    :raises click.BadParameter: when no file and no variable can have it, or something else has.
    """
    problem = _problem(name)
    if problem is None:
        return name
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = "_".join(re.findall("[A-Z]?[a-z0-9]+|[A-Z]+", ascii_name)).lower()[: _MAX_NAME - 10].strip("_")
    suggestions = [words, f"{words}_service", f"my_{words}", "price_list"]
    fitting = next(suggestion for suggestion in suggestions if _problem(suggestion) is None)
    raise click.BadParameter(f"{name!r} {problem}; give it a name such as {fitting!r}")


def _problem(name: str) -> str | None:
    if not _NAME.fullmatch(name):
        return "is not snake_case of ASCII letters and digits"
    if len(name) > _MAX_NAME:
        return f"is longer than {_MAX_NAME} characters"
    if name.startswith("test_") or name == "test":
        return f"would make pytest look for tests in {name}_pb2.py"
    if {name, _class_of(name)} & _other_names() or f"\nclass {_class_of(name)}(" not in _services(name):
        return "means something else in Python, or in the app that is written"
    return None


def _class_of(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _other_names() -> set[str]:
    """Return the names that Python has, and those of the app but for the service."""
    names = {*keyword.kwlist, *keyword.softkwlist, *dir(builtins)}
    for text in (_read("app.py.tmpl"), _services(OWN_NAME)):
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.Name(id=name) | ast.alias(name=name) | ast.arg(arg=name) | ast.FunctionDef(name=name):
                    names.add(name)
    return names - {OWN_NAME, _class_of(OWN_NAME)}


def project_files(name: str, *, js: bool) -> dict[str, str]:
    """Return the texts of the files, by their paths.

    :param name: of the service, in snake case; its class and the package of the proto are named after it.
    :param js: with a page that calls it.
    """
    files = {
        f"{name}.proto": _renamed(_read("greeter.proto"), name),
        f"{name}_pb2.py": _messages(name),
        f"{name}_pb2.pyi": _read("greeter_pb2.pyi.tmpl"),
        f"{name}_rpc.py": _services(name),
        "app.py": _renamed(_read("app.py.tmpl"), name),
        "test_app.py": _renamed(_read("test_app.py.tmpl"), name),
        "ruff.toml": _read("ruff.toml"),
    }
    if js:
        app = files["app.py"].replace("import Flask\n", "import Flask, Response\n")
        files["app.py"] = app.replace("    return app\n", _read("page.py.tmpl") + "    return app\n")
        files["static/index.html"] = _renamed(_read("static/index.html"), name)
        files[f"static/{name}.js"] = _renamed(_read("static/greeter.js"), name)
    return files


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text("utf-8")


def _renamed(text: str, name: str) -> str:
    return text.replace(OWN_NAME, name).replace(_class_of(OWN_NAME), _class_of(name))


def _messages(name: str) -> str:
    """Return the module with the messages as protoc writes it, with the bytes of the descriptor in it."""
    text = _read("greeter_pb2.py.tmpl")
    if name == OWN_NAME:
        return text
    literal = text.partition("AddSerializedFile(")[2].partition(")\n")[0]
    file = _renamed_file(FileDescriptorProto.FromString(ast.literal_eval(literal)), name)
    data = file.SerializeToString()
    own, renamed = f"_{_class_of(OWN_NAME).upper()}", f"_{_class_of(name).upper()}"
    head, tail = (_renamed(part, name).replace(own, renamed) for part in text.split(literal))
    parts: list[DescriptorProto | ServiceDescriptorProto] = [*file.message_type, *file.service]
    for part in parts:
        start = data.index(part.SerializeToString())
        for edge, offset in (("start", start), ("end", start + part.ByteSize())):
            assignment = f"_globals['_{part.name.upper()}']._serialized_{edge}="
            tail = re.sub(rf"{re.escape(assignment)}\d+", f"{assignment}{offset}", tail)
    return f"{head}{data!r}{tail}"


def _services(name: str) -> str:
    file = FileDescriptorSet.FromString((_TEMPLATES / "greeter.binpb").read_bytes()).file[0]
    return services_text(_renamed_file(file, name), message_classes([file]))


def _renamed_file(file: FileDescriptorProto, name: str) -> FileDescriptorProto:
    package = file.package
    file.name, file.package, file.service[0].name = f"{name}.proto", f"{name}.v1", _class_of(name)
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(f".{package}.", f".{file.package}.", 1)
        method.output_type = method.output_type.replace(f".{package}.", f".{file.package}.", 1)
    return file


def write_files(folder: Path, files: Mapping[str, str], *, force: bool) -> None:
    """Write files into a folder, which is made when it is not there: all of them or, when one is there, none.

    :param force: replace those that are there.
    :raises click.ClickException: when one is there, or cannot be written.
    """
    taken = [name for name in files if (folder / name).is_symlink() or (folder / name).exists()]
    in_the_way = [name for name in taken if (folder / name).is_dir() and not (folder / name).is_symlink()]
    hiding = [name for name in files if name.endswith(".py") and (folder / name[:-3] / "__init__.py").exists()]
    if in_the_way or hiding:
        problem = (
            f"{in_the_way[0]} is a folder" if in_the_way else f"{hiding[0][:-3]}/ would hide {hiding[0]} from Python"
        )
        raise click.ClickException(f"{problem} in {str(folder)!r}; name another folder")
    if taken and not force:
        raise click.ClickException(
            f"{', '.join(taken)} in {str(folder)!r} would be overwritten; name another folder, or replace with --force"
        )
    try:
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            if name in taken:  # a link goes, and what it leads to stays
                (folder / name).unlink()
            with (folder / name).open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
    except OSError as error:
        raise click.ClickException(f"{error.filename} cannot be written: {error.strerror}") from None


def next_steps(folder: Path, *, js: bool) -> str:
    """Say how to go on."""
    page = "" if js else "_grpc/"
    # What begins with a dash would be an option.
    place = shlex.quote(f"./{folder}" if str(folder).startswith("-") else str(folder))
    steps = [
        *([f"cd {place}"] if folder.resolve() != Path.cwd() else []),
        'flask --app app grpc call SayHello \'{"name": "Ann"}\'',
        f"flask --app app run --debug    # http://127.0.0.1:5000/{page} calls it from a browser",
        "pip install pytest && python -m pytest",
        "flask grpc generate            # after a change of the proto",
    ]
    return "\n".join(["", "Next:", *(f"  {step}" for step in steps)])
