"""The server that every peer calls at one port."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.programs import SERVER_PYTHON
from tests.servers import running


@pytest.fixture(scope="session")
def pyvoy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its host and port."""
    if not Path(SERVER_PYTHON).with_name("pyvoy").exists():
        pytest.skip("pyvoy needs Python 3.11")
    log = tmp_path_factory.mktemp("pyvoy") / "log"
    with running("pyvoy", "tests.peers.app:create_app", log, python=SERVER_PYTHON) as port:
        yield f"127.0.0.1:{port}"
    assert "Traceback" not in log.read_text()
