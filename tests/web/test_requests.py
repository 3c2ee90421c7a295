"""Any request at all through the Flask app: the answer keeps the protocol, nothing is raised, the next call works."""

from __future__ import annotations

import pytest
from flask import Flask
from hypothesis import example, given
from hypothesis import strategies as st

from tests.apps import ECHO
from tests.echo_pb2 import EchoRequest
from tests.fuzz.target import CONTENT_TYPES, HEADERS, PATHS, TRANSFORMS, FuzzedRequest, check, create_app
from tests.grpcweb import JSON, PROTO, TEXT, frame
from tests.lanes import lane  # noqa: F401  # a fixture

HEADER_VALUES = st.sampled_from(
    ["gzip", "deflate", "br", "zstd", "identity", "5S", "0n", "99999999H", "-1S", "AAE=,AA", "*/*", TEXT, PROTO, "1"]
) | st.text(st.characters(max_codepoint=255), max_size=300)
PAYLOADS = st.builds(
    lambda text, count, data: EchoRequest(text=text, count=count, data=data).SerializeToString(),
    st.text(st.characters(exclude_categories=["Cs"])) | st.just("fail"),
    st.integers(-(2**31), 2**31 - 1),
    st.binary(),
) | st.sampled_from([b"[]", b"{}", b'"a"', b'{"text": "\\ud800"}', b"\xff", b'{"count": 1e400}'])


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    body = draw(st.binary(max_size=200) | PAYLOADS)
    for transform in draw(st.lists(st.sampled_from(list(TRANSFORMS.values())), max_size=4)):
        body = transform(body)
    return body


requests = st.builds(
    FuzzedRequest,
    path=st.sampled_from(PATHS) | st.text(max_size=50).map(lambda text: "/" + text) | st.text().map(ECHO.__add__),
    content_type=st.sampled_from(CONTENT_TYPES) | st.text(st.characters(max_codepoint=255)),
    headers=st.lists(st.tuples(st.sampled_from(HEADERS), HEADER_VALUES), max_size=6),
    body=bodies(),
    verb=st.sampled_from(["POST"] * 9 + ["GET", "PUT", "OPTIONS", "BREW"]),
    length=st.sampled_from([0, 0, 0, 0, None, None, 1, 1000, -1]),
)


@pytest.fixture(scope="module")
def app(lane: str) -> Flask:  # noqa: F811
    return create_app()


@given(requests)
@example(FuzzedRequest(PATHS[0], JSON, [], frame(b"[]")))
@example(FuzzedRequest(PATHS[1], TEXT, [], b"AAAA===="))
def test_any_request_is_answered_by_the_protocol(app: Flask, fuzzed: FuzzedRequest) -> None:
    check(app, fuzzed)
