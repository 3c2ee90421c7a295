"""Methods of a stub under their Python names."""

from __future__ import annotations

import pytest

from flask_grpcweb_scm.client.stub import snake_case
from tests.client.support import echo_stub
from tests.echo_pb2 import EchoRequest


def test_a_misspelt_method_gets_a_hint() -> None:
    with pytest.raises(AttributeError, match=r"no method 'unari'; did you mean 'unary'\?"):
        echo_stub().unari(EchoRequest())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GetRepository", "get_repository"),
        ("Bidi", "bidi"),
        ("GetHTTPStatus", "get_http_status"),
        ("V2Read", "v2_read"),
    ],
)
def test_methods_have_python_names(name: str, expected: str) -> None:
    assert snake_case(name) == expected
