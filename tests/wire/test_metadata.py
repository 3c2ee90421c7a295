"""Metadata in and out of headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_grpcweb_scm.wire import Metadata, decode_binary, encode_binary


def test_values_keep_their_order_and_names_their_case_does_not_matter() -> None:
    metadata = Metadata([("X-A", "1"), ("x-b-bin", b"\0"), ("x-a", "2")])
    assert list(metadata) == [("x-a", "1"), ("x-b-bin", b"\0"), ("x-a", "2")]
    assert metadata.get("X-a") == "1"
    assert metadata.get_all("x-A") == ("1", "2")
    assert metadata.get_text("x-b-bin") is None
    assert metadata.get("x-c", "default") == "default"
    assert "X-A" in metadata
    assert "x-c" not in metadata
    assert len(metadata) == 3


def test_one_header_a_name() -> None:
    metadata = Metadata([("x-a", "1"), ("x-b-bin", b"\0"), ("x-a", "2"), ("x-b-bin", b"\1\2")])
    assert metadata.to_headers() == [("x-a", "1,2"), ("x-b-bin", "AA,AQI")]


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("", "a", ValueError, "may have only the characters"),
        ("x a", "a", ValueError, "may have only"),
        ("x:a", "a", ValueError, "may have only"),
        ("ü", "a", ValueError, "may have only"),
        *((name, "a", ValueError, "reserved") for name in ("grpc-status", "Content-Type", "content-x", "host", "te")),
        *((name, "a", ValueError, "reserved") for name in ("trailer", "date", "connection", "transfer-encoding")),
        ("x-a", "a\r\nb", ValueError, "printable ASCII"),
        ("x-a", "a\0", ValueError, "printable ASCII"),
        ("x-a", "ü", ValueError, "use 'x-a-bin'"),
        ("x-a", b"a", TypeError, "takes str, got bytes"),
        ("x-a-bin", "a", TypeError, "takes bytes, got str"),
        ("x-a", 5, TypeError, "takes str, got int"),
    ],
)
def test_what_a_header_cannot_carry_is_refused(name: str, value: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Metadata().add(name, value)


@pytest.mark.parametrize(
    ("name", "value", "pairs"),
    [
        ("X-A", " a, b ", [("x-a", "a, b")]),
        ("x-a-bin", "AA==", [("x-a-bin", b"\0")]),
        ("x-a-bin", "AA, AQI,AQI=", [("x-a-bin", b"\0"), ("x-a-bin", b"\1\2"), ("x-a-bin", b"\1\2")]),
        ("x-a-bin", "AA,!!,AQI", [("x-a-bin", b"\0"), ("x-a-bin", b"\1\2")]),
        ("x-a-bin", "A", []),
        ("x-a-bin", "", [("x-a-bin", b"")]),
        ("x-ü", "a", []),
        ("x-a", "aü\tb", [("x-a", "a??b")]),
        ("grpc-timeout", "1S", []),
        ("Content-Type", "a/b", []),
        ("Host", "a", []),
    ],
)
def test_headers_are_read_and_odd_ones_left_out(name: str, value: str, pairs: list[tuple[str, str | bytes]]) -> None:
    assert list(Metadata.from_headers([(name, value)])) == pairs


@given(st.binary(max_size=50))
def test_binary_values_come_back_with_and_without_padding(value: bytes) -> None:
    encoded = encode_binary(value)
    assert "=" not in encoded
    assert decode_binary(encoded) == decode_binary(encoded + "=" * (-len(encoded) % 4)) == value


@given(st.lists(st.tuples(st.text(max_size=10), st.text(max_size=20))))
def test_arbitrary_headers_raise_nothing_and_can_be_sent_on(headers: list[tuple[str, str]]) -> None:
    read = Metadata.from_headers(headers)
    assert Metadata(read) == read


def test_the_repr_shows_no_values() -> None:
    assert repr(Metadata([("authorization", "secret")])) == "<Metadata authorization>"
    assert repr(Metadata()) == "<Metadata empty>"
