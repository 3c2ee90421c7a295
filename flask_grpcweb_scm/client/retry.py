"""Retries, in the terms of gRPC's own retry policy (gRFC A6, "gRPC Retry Design")."""

from __future__ import annotations

import math
import random
from collections.abc import Collection
from dataclasses import dataclass

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from flask_grpcweb_scm.client.errors import CallError
from flask_grpcweb_scm.wire import Metadata, StatusCode

__all__ = ["Retries", "RetryPolicy", "may_retry"]

_REPEATABLE = {MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT}


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Number and pauses of the retries of a failed call; durations in seconds.

    It applies to methods that the proto declares as ``NO_SIDE_EFFECTS`` or ``IDEMPOTENT``, and for calls with an
    ``idempotency-key`` in their metadata. No other call is ever repeated, nor one that sends a stream or has received
    a message.

    :raises ValueError: for a number that is out of range.
    """

    max_attempts: int = 4
    """The first one included."""
    initial_backoff: float = 0.1
    max_backoff: float = 2.0
    backoff_multiplier: float = 2.0
    retryable_codes: Collection[StatusCode] = frozenset({StatusCode.UNAVAILABLE})

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts counts the first one: it is at least 1, got {self.max_attempts}")
        for name in ("initial_backoff", "max_backoff", "backoff_multiplier"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is a number of at least 0, got {getattr(self, name)}")

    def backoff(self, retry: int) -> float:
        """Draw the pause before a retry, counted from 0.

        "The nth retry attempt will occur after random(0.8, 1.2) * min(initialBackoff*backoffMultiplier**(n-1),
        maxBackoff)" (gRFC A6)
        """
        pause = min(self.initial_backoff * self.backoff_multiplier**retry, self.max_backoff)
        return pause * random.uniform(0.8, 1.2)  # noqa: S311  # spreads load, guards nothing


class Retries:
    """The retries of one call.

    :param policy: None for no retries.
    """

    def __init__(self, policy: RetryPolicy | None) -> None:
        self.attempts = 0
        """Attempts so far, which have all failed."""
        self._policy = policy
        self._backoffs = 0

    def pause(self, error: CallError) -> float | None:
        """Count a failed attempt, and return the seconds to wait; None when it was the last."""
        self.attempts += 1
        policy = self._policy
        if policy is None or self.attempts >= policy.max_attempts or error.code not in policy.retryable_codes:
            return None
        if error.retry_after is not None:
            self._backoffs = 0
            return None if math.isinf(error.retry_after) else error.retry_after
        self._backoffs += 1
        return policy.backoff(self._backoffs - 1)


def may_retry(method: MethodDescriptor, metadata: Metadata) -> bool:
    """Test that repeating a call has no effect beyond the first."""
    if method.client_streaming:
        return False
    return method.GetOptions().idempotency_level in _REPEATABLE or "idempotency-key" in metadata
