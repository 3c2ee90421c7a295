"""A PostgreSQL server for a module, which its tests may stop, fill up or kill."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.postgresql import PostgresqlServer, postgresql_of_our_own
from tests.scm.databases import create_tables


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresqlServer]:
    with postgresql_of_our_own() as server:
        yield server


@pytest.fixture
def server(own_server: PostgresqlServer) -> PostgresqlServer:
    own_server.reset()
    create_tables(own_server.uri)
    return own_server
