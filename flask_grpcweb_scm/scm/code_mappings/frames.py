"""Frames of stack traces, and the paths that they name; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from flask_grpcweb_scm.scm.code_mappings.libraries import (
    Package,
    installed_package,
    library_of_module,
    library_of_path,
)

__all__ = [
    "NOT_IN_APP",
    "Reading",
    "StackFrame",
    "StackPath",
    "UnsupportedFrame",
    "extension",
    "read",
    "read_frame",
    "read_module",
    "read_path",
]

# The first four parts of com.example.shop.cart.checkout say whose code it is; what follows changes too often.
PACKAGE_PARTS = 4

NOT_IN_APP = "it is not the app's own code: in_app is false"

_PREFIX = re.compile(r"(?:app:///|\./|\.\./|/)*")
_URL = re.compile(r"https?://", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MODULE_PLATFORMS = {"android", "clojure", "groovy", "java", "kotlin", "scala"}
_UNKNOWN = {"", "other"}


class UnsupportedFrame(ValueError):
    """Raised for a frame that names no file; the text says why."""


@dataclass(frozen=True, slots=True)
class StackFrame:
    """The place of a frame, as the stack trace says it; unknown texts are empty."""

    path: str = ""
    module: str = ""
    abs_path: str = ""
    """Absolute path; in Java only the name of the file."""
    platform: str = ""

    @property
    def text(self) -> str:
        """The path, or else the module, by which people recognize the frame."""
        return self.path or self.module

    @property
    def names_module(self) -> bool:
        """True when the file is named by module and file name, as in Java."""
        complete = bool(self.module and self.abs_path)
        platform = self.platform.lower().partition("-")[0]
        if platform in _MODULE_PLATFORMS:
            return complete or not _has_folders(self.path)
        # On an unknown platform: without a path, or with a path that is only the name of the file.
        return (
            platform in _UNKNOWN and complete and self.path in {"", self.abs_path} and not _has_folders(self.abs_path)
        )


@dataclass(frozen=True, slots=True)
class StackPath:
    """The path that a frame names."""

    raw: str
    """Path in the stack trace."""
    normalized: str
    """Path with slashes, and without a prefix that cannot be part of a repository."""
    stack_root: str
    """Paths with the same root are assumed to have one origin."""
    absolute: bool = False
    """True for a path from the top of a file system."""
    whole: bool = False
    """True when it begins at the top of the source files, as the package of a class does."""


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """The texts of a frame that may say where its file is."""

    texts: tuple[str, ...]
    """Texts that a code mapping may cover, the first one that does decides."""
    paths: tuple[StackPath, ...] = ()
    """The first one that means a file decides."""
    package: Package | None = None
    """The installed package that has the file: then no path does."""
    library: bool = False
    """True for a file of a language's library."""
    problem: str = ""
    """Reason why there is neither a path nor a package."""


def _has_folders(path: str) -> bool:
    return "/" in path or "\\" in path


def extension(path: str) -> str:
    """Return the text after the last dot, unless that is the first character."""
    dot = path.rfind(".")
    return path[dot + 1 :] if dot >= 1 else ""


def read(frame: StackFrame) -> Reading:
    """Read a frame: its path, or its module, and its absolute path."""
    if frame.names_module:
        return _read_class(frame)
    texts = [frame.path, *([frame.abs_path] if frame.abs_path != frame.path else [])]
    if not _has_folders(frame.path) and _has_folders(frame.abs_path):
        texts.reverse()  # the name of a file says less than its folders
    texts = [text for text in texts if text] or [""]
    for text in texts:
        if package := installed_package(text):
            return Reading((*texts,), package=package)
        if library := library_of_path(text):
            return Reading((*texts,), library=True, problem=f"it is in {library}")
    paths, problem = [], ""
    for text in texts:
        try:
            paths.append(read_path(text))
        except UnsupportedFrame as error:
            problem = problem or str(error)
    return Reading((*texts,), (*paths,), problem="" if paths else problem)


def _read_class(frame: StackFrame) -> Reading:
    try:
        # Some send the name of the file as the path alone.
        path = read_module(frame.module, frame.abs_path or (frame.path if extension(frame.path) else ""))
    except UnsupportedFrame as error:
        return Reading((frame.path,), problem=str(error))
    if library := library_of_module(frame.module):
        return Reading((path.raw,), library=True, problem=f"it is in {library}")
    return Reading((path.raw,), (path,))


def read_frame(frame: StackFrame) -> StackPath:
    """Return the path of a frame, from its module where the platform needs that.

    :raises UnsupportedFrame: when it names no file.
    """
    if frame.names_module:
        return read_module(frame.module, frame.abs_path)
    return read_path(frame.path or frame.abs_path)


def read_path(path: str) -> StackPath:
    """Read a path as compilers and interpreters print it, also on Windows.

    :raises UnsupportedFrame: when it names no file.
    """
    text = path
    drive = False
    if "\\" in text:
        text = text.replace("\\", "/")
        drive = text[1:2] == ":"
        if drive:
            text = text[2:].removeprefix("/")
    prefix = _PREFIX.match(text)
    assert prefix is not None
    normalized = text[prefix.end() :]
    _check(normalized)
    first = normalized.partition("/")[0]
    absolute = text.startswith("/")
    return StackPath(path, normalized, f"/{first}/" if absolute else prefix[0] + first, absolute=absolute or drive)


def _check(path: str) -> None:
    if not path:
        raise UnsupportedFrame("it is empty")
    if path[0] in "[<":
        raise UnsupportedFrame("the runtime made it: it names no file")
    if _URL.search(path):
        raise UnsupportedFrame("it is a URL, not a path; send the path that a source map gives for it")
    if _CONTROL.search(path):
        raise UnsupportedFrame("it has control characters")
    if not extension(path):
        raise UnsupportedFrame("it has no file extension")


def read_module(module: str, abs_path: str) -> StackPath:
    """Read the path of a Java class: ``com.example.Cart`` in ``Cart.java`` is ``com/example/Cart.java``.

    :raises UnsupportedFrame: when either is missing, or there is no package.
    """
    if not module or not abs_path:
        raise UnsupportedFrame("it needs both module and abs_path, the class with its package and the name of the file")
    if _CONTROL.search(module + abs_path):
        raise UnsupportedFrame("it has control characters")
    package = module.rpartition(".")[0]
    if "$" in abs_path or "." not in abs_path:
        # A class that the compiler generated, without a file.
        path = module.partition("$")[0].replace(".", "/")
        return StackPath(path, path, (package or module).replace(".", "/") + "/", whole=True)
    if not package:
        raise UnsupportedFrame("its module has no package; the file of a class without one could be anywhere")
    path = f"{package.replace('.', '/')}/{abs_path}"
    return StackPath(path, path, "/".join(package.split(".")[:PACKAGE_PARTS]) + "/", whole=True)
