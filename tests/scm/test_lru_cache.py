"""The cache of bounded size."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from flask_grpcweb_scm.scm.lru_cache import LruCache, memory_of
from flask_grpcweb_scm.scm.sources.source import Blame, Line


def test_what_was_used_last_stays() -> None:
    cache: LruCache[str] = LruCache(30)
    for key in "abc":
        cache.put(key, key, 10)
    assert cache.get("a") == "a"
    cache.put("d", "d", 10)
    assert [cache.get(key) for key in "abcd"] == ["a", None, "c", "d"]
    assert cache.bytes == 30


def test_a_value_takes_the_place_of_the_one_before() -> None:
    cache: LruCache[str] = LruCache(30)
    for size in (10, 25, 5):
        cache.put("a", str(size), size)
        assert (cache.get("a"), cache.bytes) == (str(size), size)


def test_a_value_that_is_too_large_drives_nothing_out() -> None:
    cache: LruCache[str] = LruCache(30)
    cache.put("a", "a", 10)
    cache.put("b", "b", 31)
    assert (cache.get("a"), cache.get("b")) == ("a", None)


KEYS: dict[str, Any] = {
    "commits": lambda number: (("/mirrors/r.git", f"{number:040}"), ((number, 5), (number, 7))),
    "lines": lambda number: (
        (number, "/mirrors/r.git", f"{number:040}", f"{number}.py", 1),
        Line(Blame(f"{number:040}", f"Ann {number}", f"ann{number}@example.com"), f"line {number}\n" * 5),
    ),
    "lines of other letters": lambda number: (
        (number, f"/mirrors/{number}ü.git", f"{number:040}", f"{number}.py" + "😈" * 50, number),
        Line(Blame("", "", ""), f"{number}😈" * 200),
    ),
}


@pytest.mark.parametrize("make", KEYS.values(), ids=KEYS)
@pytest.mark.needs("time")
def test_the_memory_of_values_is_counted(make: Any) -> None:
    cache: LruCache[Any] = LruCache(2**30)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(10_000, 13_000):
        key, value = make(number)
        cache.put(key, value, memory_of(key, value))
    del key, value
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert held <= cache.bytes <= held * 2
