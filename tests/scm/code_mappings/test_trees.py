"""Indexes of trees: what they find, against the definition; a cache of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_grpcweb_scm.scm.code_mappings.trees import TreeCache, TreeIndex, TreeTooLarge


def files(count: int) -> Iterator[str]:
    return (f"package{number // 10}/module{number}.py" for number in range(count))


def test_the_cache_keeps_what_was_used_last_within_its_bytes() -> None:
    size = TreeIndex(files(100)).bytes
    cache = TreeCache(size * 3)
    first = cache.get("a", lambda: files(100))
    for key in "bc":
        cache.get(key, lambda: files(100))
    assert cache.get("a", lambda: pytest.fail("it is there")) is first
    cache.get("d", lambda: files(100))
    assert cache.bytes == size * 3
    assert cache.get("a", lambda: pytest.fail("it is there")) is first
    made: list[str] = []
    cache.get("b", lambda: made.append("b") or files(100))  # type: ignore[func-returns-value]
    assert made == ["b"]


def test_empty_trees_take_room_too() -> None:
    cache = TreeCache(10_000)
    for number in range(1000):
        cache.get(number, list)
    assert cache.bytes <= 10_000


def test_a_tree_that_is_larger_than_the_cache_is_not_read_to_its_end() -> None:
    read: list[int] = []

    def endless() -> Iterator[str]:
        while True:
            read.append(1)
            yield f"{len(read)}.py"

    with pytest.raises(TreeTooLarge, match=r"more than the 0\.5 MiB"):
        TreeCache(2**19).get("a", endless)
    assert len(read) < 10_000


def test_threads_that_want_one_tree_read_it_once() -> None:
    cache = TreeCache(2**20)
    read: list[int] = []

    def slow() -> Iterator[str]:
        read.append(1)
        time.sleep(0.2)
        return files(100)

    with ThreadPoolExecutor(8) as pool:
        indexes = list(pool.map(lambda _: cache.get("a", slow), range(8)))
    assert (len(read), len(set(map(id, indexes)))) == (1, 1)


def test_waiting_for_another_thread_has_an_end() -> None:
    cache, going, go = TreeCache(2**20), threading.Event(), threading.Event()

    def stuck() -> Iterator[str]:
        going.set()
        assert go.wait(30)
        return files(1)

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(cache.get, "a", stuck)
        assert going.wait(30)
        with pytest.raises(TimeoutError, match="still reading"):
            cache.get("a", stuck, timeout=0.05)
        go.set()
        assert len(reader.result()) == 1


def test_a_tree_that_could_not_be_read_is_tried_again() -> None:
    cache = TreeCache(2**20)
    with pytest.raises(OSError, match="gone"):
        cache.get("a", lambda: (_ for _ in ()).throw(OSError("gone")))
    assert len(cache.get("a", lambda: files(5))) == 5


SEGMENTS = st.sampled_from(["a", "b", "ab", "a.py", "b.py", "ab.py", "é", "0", ".", "a-b"])
PATHS = st.lists(SEGMENTS, min_size=1, max_size=5).map("/".join)


def common_end(file: str, path: str) -> int:
    """Number of segments with which both end."""
    pairs = zip(file.split("/")[::-1], path.split("/")[::-1], strict=False)
    shorter = min(file.count("/"), path.count("/")) + 1
    return next((number for number, (one, other) in enumerate(pairs) if one != other), shorter)


@given(st.lists(PATHS, unique=True, max_size=30), PATHS, st.booleans(), st.booleans())
def test_an_index_finds_what_a_scan_finds(files: list[str], path: str, top: bool, tails: bool) -> None:
    files, path = [f"{file}.py" for file in files], f"{path}.py"
    ends = {file: common_end(file, path) for file in files}
    whole = {file for file, end in ends.items() if end == min(file.count("/"), path.count("/")) + 1}
    tail = 0
    if "/" not in path:
        expected = set() if not top else {path} if path in files else whole
    else:
        expected = {file for file in whole if "/" in file}
        longest = max(ends.values(), default=0)
        if tails and not expected and longest > 1:
            tail, expected = longest, {file for file, end in ends.items() if end == longest}
    found = TreeIndex(files).find(path, top=top, tails=tails)
    assert (found.count, found.tail) == (len(expected), tail)
    assert set(found.files) <= expected
    assert len(found.files) == min(3, len(expected))


@given(st.lists(PATHS, unique=True, max_size=30), PATHS)
def test_an_index_knows_all_files_and_folders(files: list[str], path: str) -> None:
    index = TreeIndex(files)
    assert index.has(path) == (path in files)
    assert index.has_below(path) == any(file.startswith(f"{path}/") for file in files)
    assert index.has_below("") == bool(files)


SOURCE_SETS = [
    # Files with one end, and those that are meant.
    (["src/main/a/X.java", "src/test/a/X.java"], ["src/main/a/X.java"]),
    (["m/src/main/a/X.kt", "m/src/androidTest/a/X.kt"], ["m/src/main/a/X.kt"]),
    (["one/src/main/a/X.java", "two/src/test/a/X.java"], ["one/src/main/a/X.java", "two/src/test/a/X.java"]),
    (["src/main/a/X.java", "src/latest/a/X.java"], ["src/latest/a/X.java", "src/main/a/X.java"]),
    (["src/test/a/X.java"], ["src/test/a/X.java"]),
]


@pytest.mark.parametrize(("files", "meant"), SOURCE_SETS)
def test_a_class_of_the_program_goes_before_one_of_its_tests(files: list[str], meant: list[str]) -> None:
    assert sorted(TreeIndex(files).find(f"a/{files[0].rpartition('/')[2]}").files) == meant
