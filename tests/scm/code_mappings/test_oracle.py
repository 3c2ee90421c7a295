"""The rules as they are written and the rules as they run come to the same."""

from __future__ import annotations

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from flask_grpcweb_scm.scm.code_mappings.frames import StackPath, UnsupportedFrame, read_path
from flask_grpcweb_scm.scm.code_mappings.roots import find_roots
from tests.scm.code_mappings import oracle

EXAMPLES = settings().max_examples
SEGMENTS = st.sampled_from(["a", "b", "ab", "app:", "src", "..", ".", "", "C:", "a.b", "[x]", "<y>", "http:", "é"])
NAMES = st.sampled_from(["a.py", "b.py", "ab.py", ".py", "x", "a.spec.jsx", "__init__.py"])
FILES = st.builds(
    lambda folders, name: "/".join([*folders, name]),
    st.lists(st.sampled_from(["a", "b", "ab", "src", "C:", "a.b"]), max_size=4),
    st.sampled_from(["a.py", "b.py", "ab.py", "__init__.py"]),
)
PREFIXES = st.sampled_from(
    ["", "/", "\\", "./", "../", "app:///", "app:///../", "C:\\", "C:", "//", "./../", "app:////"]
)
PATHS = st.builds(
    lambda prefix, separator, folders, name: prefix + separator.join([*folders, name]),
    PREFIXES,
    st.sampled_from(["/", "/", "/", "\\"]),
    st.lists(SEGMENTS, max_size=4),
    NAMES,
)


def read(path: str) -> StackPath | None:
    try:
        return read_path(path)
    except UnsupportedFrame:
        return None


@given(PATHS)
@settings(max_examples=6 * EXAMPLES)
def test_reading(path: str) -> None:
    reading = read(path)
    assert (reading and (reading.raw, reading.normalized, reading.stack_root)) == oracle.read_path(path)


@given(PATHS, FILES)
@settings(max_examples=10 * EXAMPLES)
@example("/a/a.py", "a/a/a.py")
@example("//a/a.py", "src/a/a.py")
@example("app:////a/a.py", "src/a/a.py")
@example("\\\\C:\\a\\a.py", "a/a.py")
def test_roots(path: str, file: str) -> None:
    reading = read(path)
    if reading is None or not oracle.match(file, reading.normalized):
        return
    roots = find_roots(reading, file)
    expected = oracle.find_roots(path, reading.stack_root, file)
    if expected is not None and not oracle.verify(path, expected, file):
        expected = None
    if expected is not None and (not path.startswith(expected[0]) or (not expected[0] and re.search(r"[/\\]", path))):
        return  # amended: no empty stack root, unless there is no folder
    assert (roots and (roots.stack_root, roots.source_root)) == expected
