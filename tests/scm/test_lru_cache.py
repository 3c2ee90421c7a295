"""The cache of bounded size."""

from __future__ import annotations

from flask_grpcweb_scm.scm.lru_cache import LruCache


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
