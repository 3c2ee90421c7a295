"""Callers that read and write while something goes wrong, and what was acknowledged, refused, lost and doubled."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from flask_grpcweb_scm import RpcError, StatusCode
from flask_grpcweb_scm.client import Channel
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import ExternalIssue, db
from tests.scm.databases import disposed
from tests.scm.support import Tenant, make_app

CALLERS = 8
TIMEOUT = 1.0
SECONDS = 30
SCM = scm_pb2.DESCRIPTOR.services_by_name["ScmService"]


@dataclass(frozen=True)
class Outcome:
    """Figures of the load around one fault."""

    acknowledged: int
    """Issues whose caller was told that they are stored."""
    lost: int
    """Of these, not there."""
    twice: int
    """Issues that are there more than once, also after every call without a response was repeated."""
    statuses: Counter[str]
    """Of the calls that failed, by the name of their status."""
    slowest: float
    """Seconds of the call that took longest; the deadline is one second."""
    recovery: float
    """Seconds from the end of the fault to the last failure of a call that began after it, or to the first success."""

    @property
    def is_right(self) -> bool:
        """True when nothing was lost or doubled, nor an internal error."""
        return not (self.lost or self.twice or self.statuses[StatusCode.INTERNAL.name])


class Load:
    """Callers of a server.

    :param url: of the server.
    :param name: begins the titles of the issues.
    :param pause: seconds between the calls of a caller; one that is refused at once does not call at once again.
    """

    def __init__(self, url: str, tenant: Tenant, name: str, *, pause: float = 0.01) -> None:
        self._pause = pause
        self._url = url
        self._tenant = tenant
        self._name = name
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._calls: list[tuple[float, float, StatusCode]] = []
        """Beginning, end and status of each."""
        self._acknowledged: set[str] = set()
        self._asked: set[str] = set()

    def warm_up(self) -> None:
        """Wait until the server has imported its app, all processes of it."""
        repository = scm_pb2.GetRepositoryRequest(repository_id=self._tenant.repository)

        def call(number: int) -> None:
            with Channel(self._url, timeout=SECONDS) as channel:
                channel.stub(SCM).get_repository(repository)

        with ThreadPoolExecutor(CALLERS) as pool:
            list(pool.map(call, range(5 * CALLERS)))

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the callers while the block runs."""
        with ThreadPoolExecutor(CALLERS) as pool:
            callers = [pool.submit(self._call_on, number) for number in range(CALLERS)]
            try:
                yield
            finally:
                self._over.set()
            for caller in callers:
                caller.result()

    def outcome(self, uri: str, fault_ended: float) -> Outcome:
        """Repeat the calls without a response, and count.

        :param uri: of the database.
        """
        self._repeat(self._asked - self._acknowledged)
        titles = titles_in(uri, self._name)
        failed = [call for call in self._calls if call[2] is not StatusCode.OK]
        late = [end for begin, end, code in failed if begin >= fault_ended]
        good = [end for begin, end, code in self._calls if begin >= fault_ended and code is StatusCode.OK]
        return Outcome(
            acknowledged=len(self._acknowledged),
            lost=len(self._acknowledged - titles.keys()),
            twice=sum(count > 1 for count in titles.values()),
            statuses=Counter(code.name for _, _, code in failed),
            slowest=max(end - begin for begin, end, _ in self._calls),
            recovery=max(late, default=min(good, default=math.inf)) - fault_ended,
        )

    def _call_on(self, caller: int) -> None:
        with Channel(self._url, timeout=TIMEOUT) as channel:
            scm = channel.stub(SCM)
            repository = scm_pb2.GetRepositoryRequest(repository_id=self._tenant.repository)
            number = 0
            while not self._over.is_set():
                number += 1
                self._timed(lambda: scm.get_repository(repository))
                self._timed(lambda title=f"{self._name} {caller}-{number}": self._create(scm, title))
                time.sleep(self._pause)

    def _timed(self, call: Any) -> None:
        begin, code = time.monotonic(), StatusCode.OK
        try:
            call()
        except RpcError as error:
            code = error.code
        with self._lock:
            self._calls.append((begin, time.monotonic(), code))

    def _create(self, scm: Any, title: str) -> None:
        tenant = self._tenant
        with self._lock:
            self._asked.add(title)
        request = scm_pb2.CreateExternalIssueRequest(
            organization_id=tenant.organization, integration_id=tenant.integration, title=title
        )
        scm.create_external_issue(request, metadata={"idempotency-key": title})
        with self._lock:
            self._acknowledged.add(title)

    def _repeat(self, titles: set[str]) -> None:
        deadline = time.monotonic() + SECONDS
        with Channel(self._url, timeout=SECONDS) as channel:
            for title in sorted(titles):
                while title not in self._acknowledged:
                    try:
                        self._create(channel.stub(SCM), title)
                    except RpcError:
                        assert time.monotonic() < deadline, "the server does not recover"
                        time.sleep(0.1)


def titles_in(uri: str, name: str) -> Counter[str]:
    """The titles of the issues in a database that begin with a name."""
    with disposed(make_app(uri)) as app, app.app_context():
        column = ExternalIssue.title
        return Counter(db.session.scalars(sa.select(column).where(column.startswith(f"{name} "))).all())
