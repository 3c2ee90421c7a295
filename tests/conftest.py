"""Settings of Hypothesis, names of tests, a shell, and the databases."""

from __future__ import annotations

import gc
import importlib.util
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import settings

from tests import combinations, servers

if TYPE_CHECKING:
    from tests.scm.databases import Databases, PostgresqlDatabases, SqliteDatabases

LONG_ID = 40
TOLD_SECONDS = 0.05
"""Of a setup or teardown, for the list of the slowest."""
ALL_NEED = re.compile(r"^pytestmark = pytest\.mark\.needs\(", re.MULTILINE)
"""In modules without any quick test."""
TOGETHER = re.compile(
    r"tests/(?:browser/test_(?:console|init|issues|steps|suspects)|sockets/test_(?:deadlines|hostile|text_mode))\.py"
)
"""Files of a folder that share what takes seconds to start: a browser, and five servers."""

if importlib.util.find_spec("click"):  # not there for the peers
    import tests.old_click  # noqa: F401

settings.register_profile(
    "default", deadline=None, database=None, max_examples=50, derandomize=bool(os.environ.get("CI"))
)
settings.register_profile("quick", settings.get_profile("default"), max_examples=10)
settings.load_profile("default")


def is_quick(config: pytest.Config) -> bool:
    return bool(config.option.markexpr == "not needs")


def pytest_configure(config: pytest.Config) -> None:
    # xdist's own order has the largest file first, and the ones with a few long tests at the end.
    config.option.loadscopereorder = False
    servers.quick = is_quick(config)
    if servers.quick:
        settings.load_profile("quick")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    # A third of what each process of the quick tests would import and leave out again.
    is_left_out = servers.quick and collection_path.suffix == ".py" and ALL_NEED.search(collection_path.read_text())
    return True if is_left_out else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """More than there are cores: tests also wait, for other processes, deadlines and clocks; the quick ones hardly."""
    more = 1 if is_quick(config) else 3
    return None if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else (os.cpu_count() or 1) + more


def unit_of(nodeid: str) -> str:
    """The file or the folder of a test, whose tests run in one process."""
    file = nodeid.partition("::")[0]
    return file.rpartition("/")[0] if TOGETHER.fullmatch(file) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit_of(nodeid)

    return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave combinations out of the quick tests. Have parallel processes begin with the files that start programs."""
    if servers.quick and not config.getoption("lf", False):
        kept = combinations.each_value_once(items)
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = [item for item in items if item in kept]
    if hasattr(config, "workerinput"):
        # These take longest.
        units = {item: unit_of(item.nodeid) for item in items}
        slow = {units[item] for item in items if item.get_closest_marker("needs")}
        sizes = Counter(units.values())
        items.sort(key=lambda item: (units[item] not in slow, -sizes[units[item]]))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    # Hardly anything that it makes is garbage.
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    # Thousands of tests are looked at by every full collection of garbage otherwise.
    gc.freeze()
    # The apps of the tests are garbage in cycles, and are looked at often enough.
    gc.set_threshold(20_000, 20, 20)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Have parallel processes tell what somebody reads: of six messages for each test, these are two."""
    if not hasattr(item.config, "workerinput"):
        return None
    for report in runtestprotocol(item, log=False, nextitem=nextitem):
        if report.when == "call" or not report.passed or report.duration > TOLD_SECONDS:
            item.ihook.pytest_runtest_logreport(report=report)
    return True


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Give long and binary values the name of their argument: tokens and compressed bodies have the time in them."""
    is_binary = isinstance(val, bytes) and not val.isascii()
    return argname if is_binary or (isinstance(val, (bytes, str)) and len(val) > LONG_ID) else None


@pytest.fixture(scope="session")
def shell_path() -> Iterator[str]:
    """A PATH whose ``flask`` and ``scm-grpc`` have imported everything already."""
    from tests.interpreter import commands

    with commands() as path:
        yield path


@pytest.fixture(scope="session")
def sqlite_databases(tmp_path_factory: pytest.TempPathFactory) -> SqliteDatabases:
    from tests.scm.databases import SqliteDatabases

    return SqliteDatabases(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgresql_databases() -> Iterator[PostgresqlDatabases]:
    servers.check_need("PostgreSQL")
    # Here, because the tests of the peers run in an environment without a server.
    from tests.scm.databases import PostgresqlDatabases, postgresql_server

    with postgresql_server() as uri:
        databases = PostgresqlDatabases(uri)
        yield databases
        databases.close()


@pytest.fixture(scope="session", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("PostgreSQL"))])
def databases(request: pytest.FixtureRequest) -> Databases:
    """Of each kind in turn: what uses them runs on both."""
    databases: Databases = request.getfixturevalue(f"{request.param}_databases")
    return databases


@pytest.fixture
def database(databases: Databases) -> Iterator[str]:
    """The URI of a database with the tables and no rows."""
    uri = databases.create()
    yield uri
    databases.drop(uri)


@pytest.fixture
def empty_database(databases: Databases) -> Iterator[str]:
    """The URI of a database without tables."""
    uri = databases.create(tables=False)
    yield uri
    databases.drop(uri)
