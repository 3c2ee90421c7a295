"""Side-by-side measurements: variants of one load, interleaved in one process, in several fresh processes.

A file of benchmarks defines loads::

    @load("unary 1", reference="Flask view", goals=[Goal("blueprint", "Flask view", at_most=0.85)])
    def unary_one(stack: ExitStack) -> Variants:
        app = …                                   # set up; stack.enter_context(…) for what is to be cleaned up
        return {"Flask view": lambda: …, "blueprint": lambda: …}

Each variant is a callable without arguments that does the load once. They are timed in rounds: in every round each
variant runs for some milliseconds, in random order, so that whatever else the machine does meets all of them. Of two
variants only the **ratio** counts, taken round by round; the median over the rounds is what a process says, and the
median over the processes is the result. Where in memory things happen to lie makes some per cent, which no number of
rounds in one process would show.

Every load has a *control*, the reference once more under another name. It has to come out as 1; where it does not,
the machine was too busy and the load says nothing.

A load whose variants measure something themselves (requests per second of a server, bytes of memory) is an
:func:`observation`: its callables return a number, and run once in every process.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = [
    "CONTROL",
    "CONTROL_RANGE",
    "LOADS",
    "PINNED_MALLOC",
    "Goal",
    "Load",
    "Result",
    "Variants",
    "load",
    "observation",
    "run",
]

ROOT = Path(__file__).parent.parent
CONTROL = "control"
CONTROL_RANGE = (0.95, 1.05)
BATCH_SECONDS = 0.004
MIN_ROUNDS = 5
# How much glibc keeps decides whether a message of megabytes costs a thousand page faults, and it changes its mind.
PINNED_MALLOC = {
    "MALLOC_TOP_PAD_": str(64 * 2**20),
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}

_CLOCKS = {"wall": time.perf_counter, "cpu": time.thread_time}

Variants = Mapping[str, Callable[[], object]]
Build = Callable[[contextlib.ExitStack], Variants]


@dataclass(frozen=True, slots=True)
class Goal:
    """Bound of a ratio."""

    variant: str
    reference: str
    at_most: float | None = None
    at_least: float | None = None

    def met(self, ratio: float) -> bool:
        """Test a ratio against the goal."""
        low, high = self.at_least or 0.0, self.at_most or float("inf")
        return low <= ratio <= high


@dataclass(frozen=True, slots=True)
class Load:
    """A load and how to measure it."""

    name: str
    build: Build
    reference: str
    """The variant that the others are divided by."""
    goals: Sequence[Goal] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of its processes, such as :data:`PINNED_MALLOC`."""
    unit: str = "µs"
    """Of the values; microseconds unless it is an observation."""
    observed: bool = False
    quick: bool = True
    """True when a quick run includes it."""
    clock: str = "wall"
    """``"cpu"`` leaves out what the machine does for others, where all of the work is the process's own."""
    needs: str = ""
    """A command that has to be installed, such as ``wrk``."""


@dataclass(frozen=True, slots=True)
class Result:
    """Measurements of a load by all processes."""

    medians: Mapping[str, float]
    minima: Mapping[str, float]
    ratios: Mapping[str, Sequence[float]]
    """To the reference, one for each process."""
    reference: str
    unit: str
    goals: Sequence[tuple[Goal, float]]
    """With the ratio that was measured."""

    @property
    def control(self) -> float:
        """Ratio of the reference to itself; 1 on a quiet machine."""
        return statistics.median(self.ratios.get(CONTROL, [1.0]))

    @property
    def says_something(self) -> bool:
        """True for a control near enough to 1."""
        return CONTROL_RANGE[0] <= self.control <= CONTROL_RANGE[1]

    def ratio(self, variant: str) -> float:
        """The median over the processes."""
        return statistics.median(self.ratios[variant])


LOADS: dict[str, Load] = {}
"""All loads of the files that have been imported, by name."""


def load(
    name: str,
    *,
    reference: str,
    goals: Sequence[Goal] = (),
    environ: Mapping[str, str] | None = None,
    quick: bool = True,
    clock: str = "wall",
) -> Callable[[Build], Build]:
    """Register a function that sets up the variants of a load; see the module's documentation."""
    return _register(Load(name, _unset, reference, goals, environ or {}, quick=quick, clock=clock))


def observation(
    name: str, *, unit: str, reference: str, goals: Sequence[Goal] = (), quick: bool = False, needs: str = ""
) -> Callable[[Build], Build]:
    """Register a load whose variants measure themselves: each returns a number of `unit`."""
    return _register(Load(name, _unset, reference, goals, unit=unit, observed=True, quick=quick, needs=needs))


def _register(incomplete: Load) -> Callable[[Build], Build]:
    def register(build: Build) -> Build:
        values = {key: getattr(incomplete, key) for key in Load.__dataclass_fields__}
        LOADS[incomplete.name] = Load(**{**values, "build": build})
        return build

    return register


def _unset(stack: contextlib.ExitStack) -> Variants:
    raise NotImplementedError


# One process


def _measure(name: str, seconds: float) -> dict[str, list[float]]:
    """The values of every variant, one for each round; the rounds are the same for all of them."""
    one = LOADS[name]
    with contextlib.ExitStack() as stack:
        variants = dict(one.build(stack))
        variants[CONTROL] = variants[one.reference]
        if one.observed:
            values: dict[str, list[float]] = {name: [] for name in variants}
            for variant in random.sample(list(variants), len(variants)):
                values[variant].append(float(variants[variant]()))  # type: ignore[arg-type]  # an observation's number
            return values
        return _time(variants, seconds, _CLOCKS[one.clock])


def _time(variants: Variants, seconds: float, clock: Callable[[], float]) -> dict[str, list[float]]:
    # The second time, because the first finds nothing in the caches. The control is the reference in this too.
    counts = {function: _calibrate(function, clock) for _ in range(2) for function in variants.values()}
    values: dict[str, list[float]] = {name: [] for name in variants}
    gc.collect()
    gc.freeze()
    stop = time.monotonic() + seconds
    while time.monotonic() < stop or len(values[CONTROL]) < MIN_ROUNDS:
        for name in random.sample(list(variants), len(variants)):
            function, count = variants[name], counts[variants[name]]
            # Caches and branch predictors still know the variant before.
            _batch(function, count // 4, clock)
            values[name].append(_batch(function, count, clock) / count * 1e6)
    return values


def _calibrate(function: Callable[[], object], clock: Callable[[], float]) -> int:
    """Find the number of calls in a batch of :data:`BATCH_SECONDS`."""
    count = 1
    while (taken := _batch(function, count, clock)) < BATCH_SECONDS / 4:
        count *= 4
    return max(1, round(count * BATCH_SECONDS / taken))


def _batch(function: Callable[[], object], count: int, clock: Callable[[], float]) -> float:
    started = clock()
    for _ in range(count):
        function()
    return clock() - started


# All processes


def run(one: Load, *, processes: int, seconds: float) -> Result:
    """Measure a load in fresh processes, `seconds` long each.

    :raises RuntimeError: when a process fails; what it printed is on standard error.
    """
    observed = [_fresh_process(one, seconds) for _ in range(processes)]
    names = [name for name in observed[0] if name != CONTROL] + [CONTROL]
    return Result(
        medians={name: statistics.median(statistics.median(values[name]) for values in observed) for name in names},
        minima={name: min(min(values[name]) for values in observed) for name in names},
        ratios={name: _ratios(observed, name, one.reference) for name in names},
        reference=one.reference,
        unit=one.unit,
        goals=[(goal, statistics.median(_ratios(observed, goal.variant, goal.reference))) for goal in one.goals],
    )


def _ratios(observed: Iterable[Mapping[str, Sequence[float]]], variant: str, reference: str) -> list[float]:
    return [
        statistics.median(a / b for a, b in zip(values[variant], values[reference], strict=True)) for values in observed
    ]


def _fresh_process(one: Load, seconds: float) -> dict[str, list[float]]:
    command = [sys.executable, "-m", "benchmarks.harness", one.build.__module__, one.name, str(seconds)]
    environ = {**os.environ, **one.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True, check=False)
    if process.returncode:
        raise RuntimeError(f"the process of {one.name!r} ended with {process.returncode}")
    values: dict[str, list[float]] = json.loads(process.stdout.splitlines()[-1])
    return values


def to_json(result: Result) -> dict[str, object]:
    """A result as it is written into files."""
    return {
        "unit": result.unit,
        "reference": result.reference,
        "control": result.control,
        "medians": dict(result.medians),
        "minima": dict(result.minima),
        "ratios": {name: sorted(values) for name, values in result.ratios.items()},
        "goals": [{**asdict(goal), "ratio": ratio, "met": goal.met(ratio)} for goal, ratio in result.goals],
    }


def _main(module: str, name: str, seconds: str) -> None:
    importlib.import_module(module)
    # The registry of the module that was imported, not of the one that runs as __main__.
    harness = importlib.import_module("benchmarks.harness")
    sys.stdout.write(json.dumps(harness._measure(name, float(seconds))) + "\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
