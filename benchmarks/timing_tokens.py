"""Whether the time that a wrong token takes tells where it is wrong.

Run it on an idle machine: ``python benchmarks/timing_tokens.py [SECONDS]``; it takes about 30 seconds.

Tokens that are wrong at one position each, made anew for every check, are checked in random order, and Welch's t-test
compares the times of each position with those of tokens that are wrong everywhere. The slowest tenth is left out: there
the machine did something else. As in "Dude, is my code constant time?" (Reparaz and others, 2017), |t| over 4.5 is a
difference. Two checks of the method: "noise" compares tokens that are wrong everywhere with others of their kind, and
must find nothing; the last row is a comparison that stops at the first difference, and must be found out.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable

import click

from flask_grpcweb_scm import CallContext, Identity, Metadata, RpcError
from flask_grpcweb_scm.auth import Authenticator, SignedTokens

__all__ = ["main"]

THRESHOLD = 4.5
KEPT = 0.9
POSITIONS = (0.0, 0.25, 0.5, 0.75, 1.0)

Check = Callable[[str], object]


def main(seconds: float) -> int:
    """Print t by position for each way to check a token.

    Returns 0 when none is over the threshold, 1 when one is, and 2 when the method did not work on this machine.
    """
    token = "correct-" + "c" * 56
    secret = "signing-" + "s" * 56
    signed = SignedTokens([secret]).issue("ci", expires_in=3600)
    ways: list[tuple[str, str, Check]] = [
        ("GRPC_AUTH_TOKENS", token, _refused_by(Authenticator(required=True, tokens={token: Identity()}))),
        ("GRPC_TOKEN_SECRETS", signed, _refused_by(Authenticator(required=True, signed_tokens=SignedTokens([secret])))),
        ("stops early", token, lambda given: all(a == b for a, b in zip(given, token, strict=True))),
    ]
    noise, worst = [], []
    for name, good, check in ways:
        t_values = measure(check, good, seconds / len(ways))
        click.echo(f"{name:20}" + "".join(f"{at:>7}: t = {t:+9.2f}" for at, t in t_values.items()))
        noise.append(abs(t_values.pop("noise")))
        worst.append(max(map(abs, t_values.values())))
    return _verdict(noise, worst)


def _verdict(noise: list[float], worst: list[float]) -> int:
    *ours, early = worst
    if max(noise) >= THRESHOLD or early < THRESHOLD:
        click.echo("The method fails its own checks here: the machine is busy. This run says nothing.")
        return 2
    found = max(ours) >= THRESHOLD
    click.echo(f"There is {'a' if found else 'no measurable'} difference by position.")
    return int(found)


def measure(check: Check, good: str, seconds: float) -> dict[str, float]:
    """Welch's t of the times of each kind of wrong token against those of tokens that are wrong everywhere."""
    everywhere = range(len(good))
    kinds = {"base": everywhere, "noise": everywhere}
    for position in POSITIONS:
        at = round(position * (len(good) - 1))
        kinds[f"{position:.0%}"] = range(at, at + 1)
    times: dict[str, list[int]] = {name: [] for name in kinds}
    order = list(kinds.items())
    stop = time.monotonic() + seconds
    while time.monotonic() < stop:
        random.shuffle(order)
        for name, places in order:
            # Not one object for all checks: where in memory it happens to lie takes its time too.
            token = "".join(_other(c) if at in places else c for at, c in enumerate(good))
            started = time.perf_counter_ns()
            check(token)
            times[name].append(time.perf_counter_ns() - started)
    kept = {name: sorted(values)[: int(len(values) * KEPT)] for name, values in times.items()}
    base = kept.pop("base")
    return {name: _welch(values, base) for name, values in kept.items()}


def _welch(a: list[int], b: list[int]) -> float:
    error = (statistics.variance(a) / len(a) + statistics.variance(b) / len(b)) ** 0.5
    return (statistics.fmean(a) - statistics.fmean(b)) / error if error else 0.0


def _other(character: str) -> str:
    # The dot between the parts of a signed token stays: without it the token is refused before any comparison. The last
    # character of base64 has spare bits: A to D may mean the same there.
    if character == ".":
        return character
    return "z" if character in "ABCD" else "A"


def _refused_by(authenticator: Authenticator) -> Check:
    def check(token: str) -> None:
        try:
            authenticator(CallContext(metadata=Metadata([("x-grpc-auth-token", token)])))
        except RpcError:
            return
        raise AssertionError("a wrong token was let in")

    return check


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0))
