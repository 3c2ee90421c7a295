"""What requests have in common."""

from __future__ import annotations

from typing import Any

import pytest

from flask_grpcweb_scm.rpc import incoming
from flask_grpcweb_scm.rpc.incoming import shape_of


def environ_with(*names: str) -> dict[str, Any]:
    return {"REQUEST_METHOD": "POST", **{name: f"value {name}" for name in names}, "wsgi.version": (1, 0)}


@pytest.mark.parametrize("names", [(), ("HTTP_A",), ("HTTP_A", "HTTP_B"), ("HTTP_" + "LONG" * 2000, "HTTP_A")])
def test_a_shape_gets_all_headers_and_nothing_else(names: tuple[str, ...]) -> None:
    for _ in range(2):
        shape = shape_of(environ_with(*names))
        assert list(shape.values(environ_with(*names))) == [f"value {name}" for name in names]
        assert (shape.name_bytes, shape.is_plain) == (len("".join(names)), True)
        shape_of({})


@pytest.mark.parametrize("asking", ["HTTP_GRPC_TIMEOUT", "HTTP_GRPC_ENCODING", "HTTP_GRPC_ACCEPT_ENCODING"])
def test_a_shape_tells_who_asks_for_more(asking: str) -> None:
    assert not shape_of(environ_with("HTTP_A", asking)).is_plain


def test_shapes_with_long_names_are_not_kept() -> None:
    kept = incoming._shape_of.cache_info().currsize
    for number in range(3):
        shape_of(environ_with(f"HTTP_{number}" + "LONG" * 2000))
    assert incoming._shape_of.cache_info().currsize == kept
