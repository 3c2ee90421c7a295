"""A fixture: tests of a module that imports it run once for each way to the service functions."""

# Not in apps.py, which servers import: pytest would take a fifth of their start.

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import apps


@pytest.fixture(scope="module", params=apps.LANES, autouse=True)
def lane(request: pytest.FixtureRequest) -> Iterator[str]:
    apps.way = request.param
    yield apps.way
    apps.way = apps.LANES[0]
