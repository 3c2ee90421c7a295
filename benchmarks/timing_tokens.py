"""Timing of wrong tokens: it must not reveal where they are wrong.

Run it on an idle machine: ``python benchmarks/timing_tokens.py [PROCESSES]``; 20 processes take about 30 seconds.

In each process, tokens that are wrong at one position are checked in turns with tokens that are wrong in the middle,
in random order, and the mean difference is kept, without the outer tenth of all differences (there the machine did
something else). A process is one observation, because where in memory things happen to lie makes a nanosecond or two
in all its checks. A t-test over the processes then tells whether a position's differences are by chance; |t| over 4.5
is a difference, as in "Dude, is my code constant time?" (Reparaz and others, 2017).

Two checks of the method: "noise" compares the middle with itself, and must find nothing; the last row is a comparison
that stops at the first difference, and must be found out.
"""

from __future__ import annotations

import multiprocessing
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
POSITIONS = (0.0, 0.25, 0.75, 1.0)
SECONDS_PER_WAY = 0.25

TOKEN = "correct-" + "c" * 56
SECRET = "signing-" + "s" * 56

Check = Callable[[str], object]
Differences = dict[str, dict[str, float]]
"""Nanoseconds by way and position."""


def main(processes: int) -> int:
    """Print the mean difference and its t, by position, for each way to check a token.

    Returns 0 when none is over the threshold, 1 when one is, and 2 when the method did not work on this machine.
    """
    # Each task gets a new interpreter, with a memory layout and a hash seed of its own.
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        observed = pool.map(observe, [SECONDS_PER_WAY] * processes, chunksize=1)
    noise, worst = [], []
    for way, places in observed[0].items():
        t_values = {}
        click.echo(f"{way:20}", nl=False)
        for place in places:
            values = [one[way][place] for one in observed]
            t_values[place] = _t(values)
            click.echo(f"{place:>7}: {statistics.fmean(values):+9.1f} ns, t = {t_values[place]:+7.1f}", nl=False)
        click.echo()
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


def observe(seconds: float) -> Differences:
    """One observation: how much longer than in the middle it takes to find a token wrong, by way and position."""
    signed = SignedTokens([SECRET]).issue("ci", expires_in=3600)
    ways: dict[str, tuple[str, Check]] = {
        "GRPC_AUTH_TOKENS": (TOKEN, _refused_by(Authenticator(tokens={TOKEN: Identity()}))),
        "GRPC_TOKEN_SECRETS": (
            signed,
            _refused_by(Authenticator(signed_tokens=SignedTokens([SECRET]))),
        ),
        "stops early": (TOKEN, lambda given: all(a == b for a, b in zip(given, TOKEN, strict=True))),
    }
    return {way: _measure(check, good, seconds) for way, (good, check) in ways.items()}


def _measure(check: Check, good: str, seconds: float) -> dict[str, float]:
    last = len(good) - 1
    places = {"base": last // 2, "noise": last // 2, **{f"{part:.0%}": round(part * last) for part in POSITIONS}}
    differences: dict[str, list[int]] = {name: [] for name in places if name != "base"}
    order = list(places.items())
    stop = time.monotonic() + seconds
    while time.monotonic() < stop:
        random.shuffle(order)
        times = {}
        for name, at in order:
            characters = list(good)
            characters[at] = _other(good[at])
            token = "".join(characters)
            started = time.perf_counter_ns()
            check(token)
            times[name] = time.perf_counter_ns() - started
        for name, values in differences.items():
            values.append(times[name] - times["base"])
    return {name: _trimmed_mean(values) for name, values in differences.items()}


def _trimmed_mean(values: list[int]) -> float:
    outer = int(len(values) * (1 - KEPT) / 2)
    return statistics.fmean(sorted(values)[outer : len(values) - outer])


def _t(values: list[float]) -> float:
    error: float = statistics.stdev(values) / len(values) ** 0.5
    return statistics.fmean(values) / error if error else 0.0


def _other(character: str) -> str:
    # The last character of base64 has spare bits: A to D may mean the same there.
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
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
