"""Issues that are read together: by the stand-ins of all vendors, whose responses may have anything in them."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from flask_grpcweb_scm.scm.providers import Credential, ProviderError, ProviderRateLimited, ProviderRejected
from flask_grpcweb_scm.scm.trackers import TRACKERS
from flask_grpcweb_scm.scm.trackers.tracker import Tracker
from tests.client.scripted import Peer, http
from tests.scm.trackers.documented import EMPTY_ANSWERS, HOSTILE_VALUES, changed
from tests.scm.trackers.vendors import VENDORS, VendorServer, serve_vendor
from tests.tables import check_rows


@pytest.fixture(params=[*VENDORS])
def vendor(request: pytest.FixtureRequest) -> Iterator[VendorServer]:
    with serve_vendor(request.param) as vendor:
        yield vendor


@pytest.fixture
def at(vendor: VendorServer) -> Tracker:
    credential, deadline = Credential(token="s3cret"), time.monotonic() + 60
    return TRACKERS[vendor.kind](vendor.base_url, credential, deadline=deadline, allowed_hosts=["127.0.0.1"])


def test_those_that_are_there(at: Tracker, vendor: VendorServer) -> None:
    for number in (1, 2, 3):
        vendor.add(number, f"Bug {number}", assignee="ann")
    vendor.issues[2].refused = 404
    keys = [vendor.key(number) for number in (1, 2, 3, 4)]
    found = at.read_many(keys)
    assert {key: (issue.key, issue.title, issue.status, issue.assignee) for key, issue in found.items()} == {
        vendor.key(number): (vendor.key(number), f"Bug {number}", vendor.opened, "ann") for number in (1, 3)
    }
    assert len(vendor.asked) == 1
    # Each of them as when it is read alone.
    assert found[keys[0]] == at.read(keys[0])


def test_projects_that_may_not_be_named(at: Tracker, vendor: VendorServer) -> None:
    vendor.add(1)
    vendor.add(2)
    at.projects = ["other"]
    try:
        assert at.read_many([vendor.key(1), vendor.key(2)]) == {}
    except ProviderError:
        # Where the key says it, before the request.
        assert vendor.asked == []


def test_keys_of_others(at: Tracker, vendor: VendorServer) -> None:
    for key in ["", "ABC-1) OR key in (X-1", "o/r#1) { id } }", "7 OR 1", "../..#7", "x" * 300]:
        with pytest.raises(ProviderRejected, match="no key of"):
            at.read_many([vendor.key(1), key])
    assert vendor.asked == []


# GitHub's of an enterprise are read by the same code.
@pytest.mark.needs("time")
@pytest.mark.parametrize("vendor", sorted(VENDORS.keys() - {"github_enterprise"}), indirect=True)
def test_no_value_of_a_response_is_believed(at: Tracker, vendor: VendorServer) -> None:
    vendor.add(1, assignee="ann")
    vendor.add(2)
    keys = [vendor.key(1), vendor.key(2)]
    right = at.read_many(keys)
    bodies: list[Any] = []

    def record(peer: Peer, act: Any) -> None:
        response = act()
        bodies.append(json.loads(response.partition(b"\r\n\r\n")[2]))
        peer.send(response)

    vendor.faults = [record]
    at.read_many(keys)

    def check(value: Any) -> None:
        for answer in changed(bodies[0], value):
            body = json.dumps(answer).encode()
            vendor.faults = [lambda peer, act, body=body: peer.send(http(body))] * 3  # type: ignore[list-item]
            try:
                with at.reading():
                    found = at.read_many(keys)
            except ProviderError:
                continue
            for key, issue in found.items():
                assert key in keys
                assert all(isinstance(text, str) and len(text) <= 1000 for text in dataclasses.astuple(issue)[2:])
                assert issue.title.encode() is not None
                # What is not changed is read as it was, or left out.
                assert issue.key == right[key].key or issue.key.count("#") == right[key].key.count("#")

    some = [value for value in HOSTILE_VALUES if not isinstance(value, str) or len(value) < 1000]
    check_rows(check, ((value,) for value in some))


def test_a_response_that_says_nothing(at: Tracker, vendor: VendorServer) -> None:
    def check(text: str) -> None:
        vendor.faults = [lambda peer, act: peer.send(http(text.encode()))] * 3
        try:
            with at.reading():
                assert at.read_many([vendor.key(1), vendor.key(2)]) == {}
        except ProviderError as error:
            assert not isinstance(error, ProviderRateLimited)

    check_rows(check, ((text,) for text in EMPTY_ANSWERS))
