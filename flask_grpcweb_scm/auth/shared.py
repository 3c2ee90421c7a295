"""Shared by processes in a Redis: the streams that callers have open, and the tokens that are revoked."""

from __future__ import annotations

import functools
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flask_grpcweb_scm.auth.counts import Counts, Uncountable
from flask_grpcweb_scm.forks import renew_after_fork
from flask_grpcweb_scm.rpc import CallContext, Incidents

__all__ = ["Revocations", "SharedStreams"]

LEASE_SECONDS = 30
"""After which a stream no longer counts, if the process that has it says nothing more of it."""
RENEW_SECONDS = 10.0
REVOKED_SECONDS = 1.0
"""Between two looks at the tokens that are revoked."""
REVOKED_KEY = "flask_grpcweb_scm/revoked"
NEWEST = "newest"
"""A member beside the ids of tokens, with another number for each revocation: all are read again only after one."""
PIECE = 5_000
"""Tokens that are read at a time, which takes much less than a second."""
EXPIRED_SECONDS = 86400
"""For which an expired token stays revoked: the clocks of some hosts may be behind."""

logger = logging.getLogger("flask_grpcweb_scm")

# By the clock of Redis: those of hosts differ.
_NOW = "local time = redis.call('TIME') local now = time[1] + time[2] / 1000000\n"
_ENTER = (
    _NOW
    + """
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
    if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
    redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
    redis.call('EXPIRE', KEYS[1], ARGV[2])
    return 1
    """
)
_RENEW = (
    _NOW
    + """
    redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
    redis.call('EXPIRE', KEYS[1], ARGV[2])
    """
)


_FORGET = _NOW + "return redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1])"


class SharedStreams:
    """Counts open streams by the names of callers, in all processes together.

    A stream counts for a lease, which its process renews: those of a process that is killed count for half a minute.
    Where Redis has lost them, the renewal counts them again.
    """

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._incidents = Incidents(logger)
        self._renew()
        renew_after_fork(self, SharedStreams._renew)

    def _renew(self) -> None:
        self._open: dict[str, str] = {}
        """The keys of the streams of this process, by their ids."""
        self._lock = threading.Lock()
        self._is_renewing = False

    def enter(self, context: CallContext, caller: str, most: int) -> Callable[[], object] | None:
        """Count a stream, until the returned function is called; None when the caller has as many as it may have.

        While Redis does not count, each process does so by itself.
        """
        stream, key = secrets.token_hex(8), f"flask_grpcweb_scm/streams/{caller}"
        try:
            counted = self._counts.run(context, lambda: self._eval(_ENTER, key, stream, LEASE_SECONDS, most))
        except Uncountable as error:
            self._tell(error)
        else:
            if not counted:
                return None
        with self._lock:
            self._open[stream] = key
            starts, self._is_renewing = not self._is_renewing, True
        if starts:
            try:
                threading.Thread(target=self._renew_leases, name="renewing the leases of streams", daemon=True).start()
            except BaseException:  # there are too many threads; the next stream tries it again
                self._is_renewing = False
                self._leave(stream, key)
                raise
        return functools.partial(self._leave, stream, key)

    def _leave(self, stream: str, key: str) -> None:
        with self._lock:
            is_mine = self._open.pop(stream, None) is not None
        if is_mine:  # else a forked child ends what its parent has open
            self._remove(stream, key)

    def _remove(self, stream: str, key: str) -> None:
        try:
            self._counts.run(None, lambda: self._counts.redis.zrem(key, stream))
        except Uncountable as error:
            self._tell(error)  # and its lease ends

    def _renew_leases(self) -> None:
        """Renew them for as long as any stream is open."""
        while True:
            time.sleep(RENEW_SECONDS)
            with self._lock:
                renewed = {**self._open}
                self._is_renewing = bool(renewed)
            if not renewed:
                return
            try:
                self._renew_each(renewed)
            except Exception:
                # Such as that no thread can be started: it is tried again.
                logger.exception("the leases of streams could not be renewed")

    def _renew_each(self, streams: Mapping[str, str]) -> None:
        for stream, key in streams.items():
            try:
                self._counts.run(None, functools.partial(self._eval, _RENEW, key, stream, LEASE_SECONDS))
            except Uncountable as error:
                self._tell(error)
                return
            if stream not in self._open:  # it has ended meanwhile, and would count again
                self._remove(stream, key)

    def _eval(self, script: str, key: str, *arguments: object) -> Any:
        return self._counts.redis.eval(script, 1, key, *arguments)

    def _tell(self, error: Uncountable) -> None:
        if str(error):
            text = "streams are counted in each process: GRPC_RATE_LIMIT_STORAGE cannot count: %s"
            self._incidents.log("streams", text, error)


class Revocations:
    """Tokens that are revoked in all processes, each of which looks for new ones once in a second.

    What a process has seen there stays revoked for it, also when Redis loses it.
    """

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._incidents = Incidents(logger)
        self._renew()
        renew_after_fork(self, Revocations._renew)

    def _renew(self) -> None:
        self._revoked: dict[str, float] = {}
        """Seconds of Unix time at which they expire, by their ids."""
        self._newest: float | None = None
        self._read_at: float | None = None
        self._lock = threading.Lock()

    def add(self, token_id: str, expires: float) -> None:
        """Revoke a token.

        :param expires: in seconds of Unix time; from then on it needs no revocation.
        :raises Uncountable: when that is not stored.
        """
        # No time that ever comes: it is not forgotten as expired ones are.
        newest = 2**52 + secrets.randbelow(2**52)
        self._counts.run(None, lambda: self._counts.redis.zadd(REVOKED_KEY, {token_id: expires, NEWEST: newest}))

    def __contains__(self, token_id: object) -> bool:
        """Return whether a token is revoked.

        :raises Uncountable: when this process has not been able to read any yet.
        """
        at = self._read_at
        if at is None or time.monotonic() - at >= REVOKED_SECONDS:
            self._read(waits=at is None)
        return token_id in self._revoked

    def _read(self, *, waits: bool) -> None:
        # One reads; the others take what there is.
        if not self._lock.acquire(blocking=waits):
            return
        try:
            if waits and self._read_at is not None:
                return
            newest = self._counts.run(None, self._look)
            if waits or newest != self._newest:
                oldest = time.time() - EXPIRED_SECONDS
                kept = {token_id: expires for token_id, expires in self._revoked.items() if expires > oldest}
                self._revoked = {**kept, **{name.decode(): expires for name, expires in self._read_all()}}
                self._newest = newest
            self._read_at = time.monotonic()
        except Uncountable as error:
            if str(error):
                text = "revoked tokens cannot be read from GRPC_RATE_LIMIT_STORAGE: %s"
                self._incidents.log("revocations", text, error)
            if waits:
                raise
        finally:
            self._lock.release()

    def _look(self) -> float | None:
        redis = self._counts.redis
        redis.eval(_FORGET, 1, REVOKED_KEY, EXPIRED_SECONDS)
        return redis.zscore(REVOKED_KEY, NEWEST)  # type: ignore[no-any-return]

    def _read_all(self) -> Iterator[tuple[bytes, float]]:
        cursor, is_first = 0, True
        while cursor or is_first:
            read = functools.partial(self._read_piece, cursor)
            (cursor, piece), is_first = self._counts.run(None, read), False
            yield from piece

    def _read_piece(self, cursor: int) -> tuple[int, list[tuple[bytes, float]]]:
        return self._counts.redis.zscan(REVOKED_KEY, cursor, count=PIECE)  # type: ignore[no-any-return]
