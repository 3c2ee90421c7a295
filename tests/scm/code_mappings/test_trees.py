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
