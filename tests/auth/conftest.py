"""A Redis for what several apps count together."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flask_grpcweb_scm.auth import counts
from tests.faults.redis_server import RedisServer, redis_of_our_own


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_of_our_own() as server:
        yield server


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a Redis that responds do so in time, also on a busy machine."""
    monkeypatch.setattr(counts, "STORAGE_SECONDS", 20.0)
