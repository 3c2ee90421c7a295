"""Callers of a deployment: fifty calls a second that read and write, beside streams; what became of each."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from example_app import dice_pb2
from flask_grpcweb_scm import StatusCode
from flask_grpcweb_scm.client import CallError, Channel, RetryPolicy
from flask_grpcweb_scm.pb import scm_pb2

CALLS_A_SECOND = 50
CALLERS = 10
STREAMS = 4
TIMEOUT = 60.0
SCM = scm_pb2.DESCRIPTOR.services_by_name["ScmService"]
DICE = dice_pb2.DESCRIPTOR.services_by_name["Dice"]


class Load:
    """Callers, until the block ends.

    :param retry: None: a failure is counted as it comes.
    :param mappings: a project and a repository, between which callers create code mappings; None: they only read.
    :param prefix: of the roots of these.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        certificate: Path | None = None,
        retry: RetryPolicy | None = None,
        mappings: tuple[int, int] | None = None,
        prefix: str = "",
    ) -> None:
        self._open = lambda **more: Channel(
            url, token=token, ca_certs=str(certificate) if certificate else None, **more
        )
        self._retry, self._mappings, self._prefix = retry, mappings, prefix
        self._over = threading.Event()
        self._numbers = itertools.count()
        self.calls: Counter[StatusCode] = Counter()
        """Unary ones, by their status."""
        self.streams: Counter[StatusCode] = Counter()
        self.failures: list[str] = []
        self.acknowledged: set[str] = set()
        """Stack roots of code mappings whose caller was told that they are stored."""
        self.seconds: list[float] = []

    def __str__(self) -> str:
        """What came of the calls, for people."""
        calls, streams = ({code.name: count for code, count in found.items()} for found in (self.calls, self.streams))
        return f"calls {calls}, slowest {max(self.seconds):.1f} s; streams {streams}"

    def __enter__(self) -> Load:
        callers = [(self._call, number) for number in range(CALLERS)] + [(self._stream, n) for n in range(STREAMS)]
        self._threads = [threading.Thread(target=function, args=(number,)) for function, number in callers]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _call(self, caller: int) -> None:
        with self._open(retry=self._retry, timeout=TIMEOUT, protocol=("grpc-web", "connect")[caller % 2]) as channel:
            scm, dice = channel.stub(SCM), channel.stub(DICE)
            due = time.monotonic() + caller / CALLS_A_SECOND
            while not self._over.wait(max(0.0, due - time.monotonic())):
                due = max(due + CALLERS / CALLS_A_SECOND, time.monotonic() - 1)
                self._one(scm, dice)

    def _one(self, scm: Any, dice: Any) -> None:
        number, started = next(self._numbers), time.monotonic()
        code = StatusCode.OK
        try:
            if number % 3 == 0:
                dice.roll(dice_pb2.RollRequest(sides=20))
            elif number % 3 == 1 or self._mappings is None:
                scm.list_repositories(scm_pb2.ListRepositoriesRequest(organization_id=1))
            else:
                self._write(scm, f"{self._prefix}root{number}/")
        except CallError as error:
            code = error.code
            self.failures.append(f"{time.strftime('%X')} {error}")
        self.calls[code] += 1
        self.seconds.append(time.monotonic() - started)

    def _write(self, scm: Any, root: str) -> None:
        assert self._mappings is not None
        project, repository = self._mappings
        request = scm_pb2.CreateCodeMappingRequest(
            organization_id=1, project_id=project, repository_id=repository, stack_root=root, source_root="src/"
        )
        try:
            # With it, the client may repeat the call; once more, it is ALREADY_EXISTS.
            scm.create_code_mapping(request, metadata={"idempotency-key": root})
        except CallError as error:
            if error.code is not StatusCode.ALREADY_EXISTS:
                raise
        self.acknowledged.add(root)

    def _stream(self, number: int) -> None:
        with self._open(timeout=120) as channel:
            dice = channel.stub(DICE)
            while not self._over.wait(0.05):
                code = StatusCode.OK
                try:
                    for _ in dice.roll_until(dice_pb2.RollUntilRequest(target=1, sides=20)):
                        pass
                except CallError as error:
                    code = error.code
                self.streams[code] += 1
