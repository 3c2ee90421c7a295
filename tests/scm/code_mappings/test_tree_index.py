"""Finding files by the ends of their paths, against the definition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flask_grpcweb_scm.scm.code_mappings.tree_index import TreeIndex

SEGMENTS = st.sampled_from(["a", "b", "ab", "a.py", "b.py", "ab.py", "é", "0", ".", "a-b"])
PATHS = st.lists(SEGMENTS, min_size=1, max_size=5).map("/".join)


def match(file: str, path: str) -> bool:
    """By segments: the shorter is an end of the longer."""
    shorter, longer = sorted((file.split("/"), path.split("/")), key=len)
    return longer[-len(shorter) :] == shorter


@given(st.lists(PATHS, unique=True, max_size=30), PATHS)
def test_an_index_finds_what_a_scan_finds(files: list[str], path: str) -> None:
    files = [f"{file}.py" for file in files]
    path = f"{path}.py"
    expected = {file for file in files if match(file, path)}
    found = TreeIndex(files).find(path)
    assert found.count == len(expected)
    assert set(found.files) <= expected
    assert len(found.files) == min(3, len(expected))
