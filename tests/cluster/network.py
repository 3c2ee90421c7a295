"""Hosts on a network of their own: network namespaces, which ``ip netns`` makes, behind a switch in one more."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import check_need

SECONDS = 20.0
PREFIX = "scm"
_OF_A_RUN = re.compile(rf"{PREFIX}([0-9]+)-[a-z0-9]+")


class Host:
    """A namespace with an address.

    :param name: of the namespace.
    """

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address

    @property
    def inside(self) -> list[str]:
        """The beginning of a command that runs here. It becomes that command: the process is the same."""
        return ["nsenter", f"--net=/run/netns/{self.name}"]

    def kill(self) -> None:
        """End all processes at once, as a machine that loses its power does to them."""
        stop = time.monotonic() + SECONDS
        # One may have begun another meanwhile.
        while pids := ip("netns", "pids", self.name).split():
            for pid in map(int, pids):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            assert time.monotonic() < stop, f"{self.name}: {pids} do not end"
            time.sleep(0.02)

    @contextlib.contextmanager
    def unplugged(self) -> Iterator[None]:
        """Have nothing arrive or leave while the block runs: no end of a connection, nothing that refuses one."""
        ip("-n", self.name, "link", "set", "eth0", "down")
        try:
            yield
        finally:
            ip("-n", self.name, "link", "set", "eth0", "up")


class Network:
    """Hosts, and this process, which has the first address."""

    def __init__(self, names: list[str]) -> None:
        self._name = f"{PREFIX}{os.getpid()}"
        taken = json.dumps(json.loads(ip("-json", "address")))
        # Of the addresses for tests between devices (RFC 2544).
        self.subnet = next(each for each in (f"198.18.{n}" for n in range(256)) if f'"{each}.' not in taken)
        self.address = f"{self.subnet}.1"
        self.hosts = {name: Host(f"{self._name}-{name}", f"{self.subnet}.{n}") for n, name in enumerate(names, 2)}
        switch = f"{self._name}-switch"
        ip("netns", "add", switch)
        ip("-n", switch, "link", "add", "lan", "type", "bridge")
        ip("-n", switch, "link", "set", "lan", "up")
        for name, host in self.hosts.items():
            ip("netns", "add", host.name)
            peer = ("peer", "name", name, "netns", switch)
            ip("link", "add", "eth0", "netns", host.name, "type", "veth", *peer)
            self._plug(switch, name)
            ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
            for link in ("lo", "eth0"):
                ip("-n", host.name, "link", "set", link, "up")
        ip("link", "add", self._name, "type", "veth", "peer", "name", "tests", "netns", switch)
        self._plug(switch, "tests")
        ip("address", "add", f"{self.address}/24", "dev", self._name)
        ip("link", "set", self._name, "up")

    @staticmethod
    def _plug(switch: str, port: str) -> None:
        ip("-n", switch, "link", "set", port, "master", "lan", "up")


def ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def why_not() -> str:
    """The reason for which this machine has no such networks; empty when it has."""
    if missing := [program for program in ("ip", "nsenter") if shutil.which(program) is None]:
        return f"{missing[0]} is not installed: apt-get install iproute2 util-linux"
    if os.geteuid() != 0:
        return "only root makes network namespaces: sudo make cluster"
    probe = f"{PREFIX}{os.getpid()}-probe"
    try:
        ip("netns", "add", probe)
        # Of all that is made below, what some kernels have not.
        ip("-n", probe, "link", "add", "lan", "type", "bridge")
        ip("-n", probe, "link", "add", "one", "type", "veth", "peer", "name", "other")
    except AssertionError as error:
        return f"this machine allows no network of namespaces: {error}"
    finally:
        remove(os.getpid())
    return ""


def remove(run: int) -> None:
    """Remove the namespaces of a run, with their processes."""
    for name in _namespaces():
        match = _OF_A_RUN.fullmatch(name)
        if match and int(match[1]) == run:
            Host(name, "").kill()
            ip("netns", "delete", name)
    subprocess.run(["ip", "link", "delete", f"{PREFIX}{run}"], capture_output=True, timeout=SECONDS, check=False)


def _namespaces() -> list[str]:
    return [line.split()[0] for line in ip("netns", "list").splitlines()]


@contextlib.contextmanager
def network(*names: str) -> Iterator[Network]:
    """Make hosts while the block runs; skip the test where that cannot be, and fail it in CI."""
    check_need("network namespaces")
    if reason := why_not():
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    # What a killed run has left.
    for run in {int(match[1]) for match in map(_OF_A_RUN.fullmatch, _namespaces()) if match}:
        if not Path(f"/proc/{run}").exists():
            remove(run)
    # Else nothing below runs.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield Network(list(names))
    finally:
        remove(os.getpid())
        signal.signal(signal.SIGTERM, before)
