"""Callers of a cluster and pushes to its repositories, and what became of each: what was acknowledged is kept."""

from __future__ import annotations

import contextlib
import itertools
import json
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import sqlalchemy as sa

from flask_grpcweb_scm import StatusCode
from flask_grpcweb_scm.client import CallError, RetryPolicy, ScmGrpcClient
from flask_grpcweb_scm.scm import db
from tests.cluster.cluster import CALLER_TOKEN, REPOSITORIES, Cluster
from tests.scm.sync.syncing import commits_of, extend
from tests.scm.webhooks.sending import github

RETRY = RetryPolicy(max_attempts=12)
"""Of the client, for outages of some seconds: of 15 in all."""
CALLERS: tuple[RetryPolicy | None, ...] = (None, RETRY, None, RETRY)
SHORT_IDS = itertools.count(1)
PAUSE = 0.05
PUSHED = 20
TIMEOUT = 60.0


@dataclass
class Traffic:
    """What was called while something went wrong.

    :param name: begins the titles of what is written.
    """

    cluster: Cluster
    name: str
    calls: Counter[bool] = field(default_factory=Counter)
    """By whether they had retries."""
    failed: Counter[tuple[bool, StatusCode]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Results that are not what git says."""
    issues: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    """Titles whose caller was told that they are stored."""
    pushes: Counter[int] = field(default_factory=Counter)
    """Acknowledged deliveries, by the number of the repository."""
    syncs: int = 0
    slowest: float = 0.0

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._project, self._integration, self._ids = self.cluster.ids()
        self._heads = {number: commits_of_branch(self.cluster, number) for number in REPOSITORIES}

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Call and push while the block runs."""
        with ThreadPoolExecutor(len(CALLERS) + 1) as pool:
            under_way = [pool.submit(self._call_on, number, retry) for number, retry in enumerate(CALLERS)]
            under_way.append(pool.submit(self._push_on))
            try:
                yield
            finally:
                self._over.set()
        for each in under_way:
            each.result()

    def _call_on(self, caller: int, retry: RetryPolicy | None) -> None:
        certificate = str(self.cluster.nginx.certificate)
        protocol = ("grpc-web", "connect")[caller // 2 % 2]
        client = ScmGrpcClient(
            self.cluster.url, CALLER_TOKEN, timeout=TIMEOUT, retry=retry, ca_certs=certificate, protocol=protocol
        )
        with client.channel:
            for number in itertools.count(1):
                for call in (self._get, self._blame, self._list, self._issue, self._group, self._sync):
                    if self._over.wait(PAUSE):
                        return
                    self._one(lambda call=call, number=number: call(client, caller, number), retry is not None)

    def _one(self, call: Callable[[], object], has_retries: bool) -> None:
        began = time.monotonic()
        code = StatusCode.OK
        try:
            call()
        except CallError as error:
            code = error.code
            text = f"{time.strftime('%X')} {error}"
        with self._lock:
            self.calls[has_retries] += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
            if code is not StatusCode.OK:
                self.failed[has_retries, code] += 1
                self.failures.append(text)

    def _get(self, client: ScmGrpcClient, caller: int, number: int) -> None:
        repository = REPOSITORIES[number % len(REPOSITORIES)]
        head = self._heads[repository][0]
        found = client.get_commit(repository_id=self._ids[repository], commit_sha=head).key
        self._compare("GetCommit", found, head)

    def _blame(self, client: ScmGrpcClient, caller: int, number: int) -> None:
        repository = REPOSITORIES[number % len(REPOSITORIES)]
        head, blamed = self._heads[repository]
        context = client.get_commit_context(
            repository_id=self._ids[repository], filepath="src/file1.txt", line_number=1, commit_sha=head
        )
        self._compare("GetCommitContext", context.blame_commit_id, blamed)

    def _list(self, client: ScmGrpcClient, caller: int, number: int) -> None:
        repository = REPOSITORIES[number % len(REPOSITORIES)]
        found = len(client.list_commits(repository_id=self._ids[repository], page_size=5))
        self._compare("ListCommits", str(found), "5")

    def _issue(self, client: ScmGrpcClient, caller: int, number: int) -> None:
        title = f"{self.name} {caller}-{number}"
        metadata = {"repo": f"acme/r{REPOSITORIES[number % len(REPOSITORIES)]}"}
        client.create_external_issue(
            organization_id=1,
            integration_id=self._integration,
            title=title,
            metadata=metadata,
            idempotency_key=title,
        )
        self.issues.add(title)

    def _group(self, client: ScmGrpcClient, caller: int, number: int) -> None:
        title, short_id = f"{self.name} {caller}-{number}", next(SHORT_IDS)
        client.upsert_group(organization_id=1, project_id=self._project, short_id=short_id, title=title)
        self.groups.add(title)

    def _sync(self, client: ScmGrpcClient, caller: int, number: int) -> None:
        client.sync_repository(repository_id=self._ids[REPOSITORIES[number % len(REPOSITORIES)]])
        self.syncs += 1

    def _compare(self, method: str, found: str, expected: str) -> None:
        if found != expected:
            self.wrong.append(f"{method}: {found} instead of {expected}")

    # Pushes

    def _push_on(self) -> None:
        context = ssl.create_default_context(cafile=str(self.cluster.nginx.certificate))
        for number in itertools.cycle(REPOSITORIES):
            git = self.cluster.git(number)
            first = len(commits_of(git)) + 1
            extend(git, first, first + PUSHED - 1, seed=str(number))
            self._deliver(number, context)
            if self._over.wait(0.3):
                return

    def _deliver(self, number: int, context: ssl.SSLContext) -> None:
        """Send a delivery until it is acknowledged, under one id."""
        delivery = github(
            "push", {"ref": "refs/heads/main", "repository": {"id": number, "full_name": f"acme/r{number}"}}
        )
        request = urllib.request.Request(f"{self.cluster.url}/scm/webhooks/main", delivery.body, delivery.headers)
        stop = time.monotonic() + TIMEOUT
        while True:
            try:
                with urllib.request.urlopen(request, timeout=10, context=context) as response:
                    assert json.load(response)["status"] in {"accepted", "duplicate"}
                    self.pushes[number] += 1
                    return
            except OSError as error:
                if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                    raise
            assert time.monotonic() < stop, "no delivery is acknowledged"
            time.sleep(0.2)

    # Afterwards

    def lost_and_twice(self) -> tuple[int, int]:
        """Count acknowledged writes that are not there, and writes that are there more than once."""
        lost = twice = 0
        with self.cluster.app.app_context():
            for table, acknowledged in (("scm_external_issue", self.issues), ("scm_group", self.groups)):
                query = sa.text(f"SELECT title FROM {table} WHERE title LIKE :name")
                titles = Counter(db.session.scalars(query, {"name": f"{self.name} %"}))
                lost += len(acknowledged - titles.keys())
                twice += sum(count > 1 for count in titles.values())
            at_provider = self.cluster.provider.titles()
            lost += len(self.issues - at_provider.keys())
            twice += sum(count > 1 for title, count in at_provider.items() if title.startswith(f"{self.name} "))
            for number in REPOSITORIES:
                stored, truth = Counter(self.cluster.stored(number)), set(commits_of(self.cluster.git(number)))
                lost += len(truth - stored.keys())
                twice += sum(count > 1 for count in stored.values())
        return lost, twice

    @property
    def acknowledged(self) -> int:
        return len(self.issues) + len(self.groups) + self.syncs + sum(self.pushes.values())


def commits_of_branch(cluster: Cluster, number: int) -> tuple[str, str]:
    """The newest commit of a repository that is stored, and the one that its blame has for line 1 of a file."""
    repository = cluster.provider.contents[f"r{number}"].repository
    head = repository.git("rev-parse", "main")
    return head, repository.git("rev-list", "-1", head, "--", "src/file1.txt")
