"""What requests have in common."""

from __future__ import annotations

from typing import Any

import pytest

from flask_grpcweb_scm.rpc import call
from flask_grpcweb_scm.rpc.call import header_profile


def environ_with(*names: str) -> dict[str, Any]:
    return {"REQUEST_METHOD": "POST", **{name: f"value {name}" for name in names}, "wsgi.version": (1, 0)}


@pytest.mark.parametrize("names", [(), ("HTTP_A",), ("HTTP_A", "HTTP_B"), ("HTTP_" + "LONG" * 2000, "HTTP_A")])
def test_a_profile_gets_all_headers_and_nothing_else(names: tuple[str, ...]) -> None:
    for _ in range(2):
        profile = header_profile(environ_with(*names))
        assert list(profile.values(environ_with(*names))) == [f"value {name}" for name in names]
        assert (profile.name_bytes, profile.has_options) == (len("".join(names)), False)
        header_profile({})


@pytest.mark.parametrize("option", ["HTTP_GRPC_TIMEOUT", "HTTP_GRPC_ENCODING", "HTTP_CONNECT_TIMEOUT_MS"])
def test_a_profile_tells_whether_there_are_options(option: str) -> None:
    assert header_profile(environ_with("HTTP_A", option)).has_options


def test_profiles_with_long_names_are_not_kept() -> None:
    kept = call._profile_of.cache_info().currsize
    for number in range(3):
        header_profile(environ_with(f"HTTP_{number}" + "LONG" * 2000))
    assert call._profile_of.cache_info().currsize == kept
