"""A PostgreSQL and a Redis for the deployment."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.postgresql import PostgresqlServer, postgresql_of_our_own
from tests.faults.redis_server import RedisServer, redis_of_our_own


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    with postgresql_of_our_own() as server:
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    with redis_of_our_own() as server:
        yield server
