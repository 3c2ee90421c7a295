"""A stand-in for GitHub that keeps issues, and can be told to fail before or after it has acted."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from tests.client.scripted import Peer, http, serve

__all__ = ["Fault", "GitHubServer", "serve_github"]

Fault = Callable[[Peer, Callable[[], bytes]], None]
"""What to do with a request: takes the peer, and what acts and gives the answer."""


class GitHubServer:
    def __init__(self) -> None:
        self.url = ""
        self.issues: list[dict[str, Any]] = []
        self.comments: list[tuple[str, str]] = []
        self.asked: list[str] = []
        self.faults: list[Fault] = []
        """Of the next requests, one each."""

    def script(self, peer: Peer) -> None:
        self.asked.append(peer.target)
        fault = self.faults.pop(0) if self.faults else answer
        fault(peer, lambda: self.act(peer))

    def act(self, peer: Peer) -> bytes:
        method, target, _ = peer.target.split(" ")
        if method == "GET" and "/search/issues?" in target:
            rows = [{**issue, "repository_url": f"{self.url}/repos/o/r"} for issue in self.issues]
            return http(json.dumps({"items": rows}).encode(), content_type="application/json")
        if method == "GET" and (match := re.search(r"/issues/(\d+)$", target)):
            found = [issue for issue in self.issues if issue["number"] == int(match[1])]
            if not found:
                return http(b'{"message": "Not Found"}', status="404 Not Found")
            return http(json.dumps(found[0]).encode(), content_type="application/json")
        if method == "GET":
            return http(json.dumps(self.issues[::-1]).encode(), content_type="application/json")
        sent = json.loads(peer.body)
        if target.endswith("/comments"):
            self.comments.append((target, sent["body"]))
            return http(b'{"id": 1}', status="201 Created")
        number = len(self.issues) + 1
        url = f"https://github.example/o/r/issues/{number}"
        self.issues.append({"number": number, "html_url": url, **sent})
        return http(json.dumps(self.issues[-1]).encode(), status="201 Created")


def answer(peer: Peer, act: Callable[[], bytes]) -> None:
    peer.send(act())


def cut_before(peer: Peer, act: Callable[[], bytes]) -> None:
    peer.shut_down()


def cut_after(peer: Peer, act: Callable[[], bytes]) -> None:
    act()
    peer.shut_down()


def cut_in_the_answer(peer: Peer, act: Callable[[], bytes]) -> None:
    peer.send(act()[:-10])
    peer.shut_down()


def silent_before(peer: Peer, act: Callable[[], bytes]) -> None:
    peer.wait()


def silent_after(peer: Peer, act: Callable[[], bytes]) -> None:
    act()
    peer.wait()


def nonsense_after(peer: Peer, act: Callable[[], bytes]) -> None:
    act()
    peer.send(http(b"<html>", status="201 Created"))


def status_before(status: str, *headers: str) -> Fault:
    return lambda peer, act: peer.send(http(b'{"message": "no"}', *headers, status=status))


def status_after(status: str) -> Fault:
    def fault(peer: Peer, act: Callable[[], bytes]) -> None:
        act()
        peer.send(http(b'{"message": "no"}', status=status))

    return fault


@contextlib.contextmanager
def serve_github() -> Iterator[GitHubServer]:
    github = GitHubServer()
    with serve(github.script) as server:
        github.url = server.url
        yield github
