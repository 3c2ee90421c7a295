"""What a tracker requests, and what it makes of responses, step by step as its vendor documents them.

The contract of the test kit, in ``test_public_contract.py``, has what holds at any vendor.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any, ClassVar

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from flask_grpcweb_scm.scm.providers import (
    Credential,
    CredentialRefused,
    ProviderConflict,
    ProviderError,
    ProviderForbidden,
    ProviderNotFound,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
)
from flask_grpcweb_scm.scm.trackers.issues import FoundIssue, NewIssue, TrackerIssue
from flask_grpcweb_scm.scm.trackers.tracker import Tracker
from tests.tables import check_rows

SECRET = "s3cret-t0ken"
MARKER = "scm0123456789abcdef0123456789abcdef"
BODY = f"It breaks.\n<b>ü</b>\n\nReference: {MARKER}"


@dataclass(frozen=True)
class Step:
    """A request that the vendor documents, and its answer."""

    method: str
    path: str
    answer: Any
    query: dict[str, str] = field(default_factory=dict)
    body: Any = None
    status: int = 200
    content_type: str = "application/json"


class ScriptedVendor:
    """A server at the vendor's end of the socket: answers what it is told to, and keeps what it was asked."""

    def __init__(self, server: HTTPServer) -> None:
        self.url = server.url_for("").rstrip("/")
        self.port = server.port
        self.requests: list[Request] = []
        self.answers: list[Response | Callable[[], Response]] = []
        self.lookups: dict[tuple[str, str], Response] = {}
        """By method and path; not among the requests."""
        server.expect_request(re.compile(".*")).respond_with_handler(self._answer)

    def _answer(self, request: Request) -> Response:
        request.get_data()
        if (request.method, request.path) in self.lookups:
            return self.lookups[request.method, request.path]
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer() if callable(answer) and not isinstance(answer, Response) else answer

    def answer(self, *answers: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        texts = [answer if isinstance(answer, str) else json.dumps(answer) for answer in answers]
        self.answers = [Response(text, status, headers, mimetype="application/json") for text in texts]

    def play(self, *steps: Step) -> None:
        self.answers = [Response(json.dumps(s.answer), s.status, mimetype="application/json") for s in steps]


def changed(answer: Any, value: Any) -> Iterator[Any]:
    """Yield copies of an answer, with one of its values replaced in each."""
    items = answer.items() if isinstance(answer, dict) else enumerate(answer) if isinstance(answer, list) else ()
    for key, item in items:
        for other in [value, *changed(item, value)]:
            copy = dict(answer) if isinstance(answer, dict) else list(answer)
            copy[key] = other
            yield copy


@pytest.fixture
def vendor(httpserver: HTTPServer) -> ScriptedVendor:
    return ScriptedVendor(httpserver)


HOSTILE_VALUES: list[Any] = [
    "..", ".", "", "../../x", "a\0", "\ud800", "x" * 300_000, "-1", "7 ", "7\n", "ABC-",
    "ABC-7/..", "ABC-" + "7" * 300,
    "%2e%2e", "javascript:alert(1)", "https://a@b/", "https://a b", "https://" + "x" * 300_000, "\u0667",
    None, True, False, 0, -1, 1.5, 2**63, 10**4000, float("nan"), float("inf"), [], [7], {}, {"id": 7},
]  # fmt: skip
EMPTY_ANSWERS = [
    "{}", "[]", "null", "7", "<html>", "", '{"id": null, "number": "x"}', "NaN", '{"id": NaN}', "[" * 10**5,
    '{"a":' * 10**5, "1" * 5000, "\ufeff{}",
]  # fmt: skip


class DocumentedTracker:
    """A subclass fills these in; ``{port}`` in a text is the port of its vendor."""

    tracker: ClassVar[type[Tracker]]
    base_path: ClassVar[str] = ""
    fields: ClassVar[dict[str, str]]
    """An issue's fields, required and others, beside one that the vendor does not know."""
    created: ClassVar[TrackerIssue]
    create: ClassVar[list[Step]]
    find: ClassVar[list[Step]]
    find_nothing: ClassVar[list[Step]]
    comment: ClassVar[list[Step]]
    """Of the text "Linked <b>."."""
    read: ClassVar[Step]
    found: ClassVar[FoundIssue]
    """The issue of `read`, the only one of `search`."""
    search: ClassVar[list[Step]]
    """For the text ``x" OR '1``."""
    pages: ClassVar[list[str]]
    """Addresses of the issue's page, after that of the server."""
    foreign_keys: ClassVar[list[str]]
    authorization: ClassVar[str] = f"Bearer {SECRET}"
    credential: ClassVar[Credential] = Credential(token=SECRET)
    headers: ClassVar[dict[str, str]] = {}
    complaint: ClassVar[tuple[Any, str, dict[str, str]]]
    """An error of the vendor's, what is shown of it, and that by field."""

    lookups: ClassVar[list[Step]] = []
    """What a create may want to know first, and can do without."""

    @pytest.fixture
    def at(self, vendor: ScriptedVendor) -> Tracker:
        for step in self.lookups:
            vendor.lookups[step.method, self.base_path + step.path] = Response(json.dumps(step.answer), step.status)
        return self.tracker(
            vendor.url + self.base_path,
            self.credential,
            deadline=time.monotonic() + 5,
            allowed_hosts=["localhost"],
        )

    def issue(self, **changes: Any) -> NewIssue:
        since = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
        fields = {**self.fields, "nonsense": "x"}
        return replace(NewIssue("Bug ü", "It breaks.\n<b>ü</b>", fields, MARKER, since), **changes)

    def expected(self, vendor: ScriptedVendor) -> TrackerIssue:
        key, url = (text.replace("{port}", str(vendor.port)) for text in (self.created.key, self.created.web_url))
        return TrackerIssue(key, url)

    def expected_found(self, vendor: ScriptedVendor) -> FoundIssue:
        issue = self.expected(vendor)
        return replace(self.found, key=issue.key, web_url=issue.web_url)

    def check_requests(self, vendor: ScriptedVendor, steps: list[Step]) -> None:
        assert [(r.method, r.path) for r in vendor.requests] == [(s.method, self.base_path + s.path) for s in steps]
        for request, step in zip(vendor.requests, steps, strict=True):
            assert request.args.to_dict() == step.query
            assert request.headers["Authorization"] == self.authorization
            assert {name: request.headers.get(name) for name in self.headers} == {
                name: value.replace("{port}", str(vendor.port)) for name, value in self.headers.items()
            }
            if step.body is None:
                assert request.data == b""
            else:
                assert request.headers["Content-Type"] == step.content_type
                assert json.loads(request.data) == step.body

    def test_create_asks_what_the_vendor_documents(self, at: Tracker, vendor: ScriptedVendor) -> None:
        vendor.play(*self.create)
        assert at.create(self.issue()) == self.expected(vendor)
        self.check_requests(vendor, self.create)

    def test_find_gives_the_issue_that_was_created(self, at: Tracker, vendor: ScriptedVendor) -> None:
        vendor.play(*self.find)
        assert at.find(self.issue()) == self.expected(vendor)
        self.check_requests(vendor, self.find)

    def test_find_gives_none_when_there_is_none(self, at: Tracker, vendor: ScriptedVendor) -> None:
        vendor.play(*self.find_nothing)
        assert at.find(self.issue()) is None

    def test_what_is_found_by_was_sent(self) -> None:
        assert any(MARKER in json.dumps(step.body) for step in self.create)
        told = [json.dumps([step.query, step.body, step.answer]) for step in self.find]
        assert any(MARKER in text for text in told)

    def test_comment(self, at: Tracker, vendor: ScriptedVendor) -> None:
        vendor.play(*self.comment)
        at.comment(self.expected(vendor).key, "Linked <b>.")
        self.check_requests(vendor, self.comment)

    def test_keys_of_others_are_refused_before_anything_is_asked(self, at: Tracker, vendor: ScriptedVendor) -> None:
        for key in ["", "ISSUE-1/../..", "x" * 300, "#", *self.foreign_keys]:
            with pytest.raises(ProviderRejected, match="no key of"):
                at.comment(key, "text")
        assert vendor.requests == []

    def test_an_issue_is_named_by_its_key_or_its_page(self, at: Tracker, vendor: ScriptedVendor) -> None:
        key = self.expected(vendor).key
        for text in (key, f" {key}\n", *(vendor.url + page for page in self.pages)):
            assert at.key_of(text) == key, text
        other = [page.replace("localhost", "elsewhere") for page in self.pages]
        foreign = [text.format(url=vendor.url) for text in self.foreign_keys]
        addresses = [vendor.url.replace("localhost", name) for name in ("u:p@localhost", "localhost\uff0fx", "[x")]
        addresses += ["https://elsewhere.test", vendor.url.rpartition(":")[0] + ":99999", vendor.url + "0"]
        for text in ("", "x", *foreign, *other, *(address + self.pages[0] for address in addresses), vendor.url):
            with pytest.raises(ProviderRejected, match="no key of") as caught:
                at.key_of(text)
            assert list(caught.value.fields) == ["external_key"]
        assert vendor.requests == []

    def test_read_gives_what_the_vendor_shows(self, at: Tracker, vendor: ScriptedVendor) -> None:
        vendor.play(self.read)
        assert at.read(self.expected(vendor).key) == self.expected_found(vendor)
        self.check_requests(vendor, [self.read])

    def test_search_gives_what_the_vendor_finds(self, at: Tracker, vendor: ScriptedVendor) -> None:
        vendor.play(*self.search)
        assert at.search("x\" OR '1", self.fields) == [self.expected_found(vendor)]
        self.check_requests(vendor, self.search)

    @pytest.mark.parametrize("value", [None, "", 7, "..", [], {}, "x" * 100_000, "\ud800"])
    def test_no_value_of_an_issue_is_believed(self, at: Tracker, vendor: ScriptedVendor, value: Any) -> None:
        for answer in changed(self.read.answer, value):
            vendor.play(replace(self.read, answer=answer))
            with contextlib.suppress(ProviderError), at.reading():
                found = at.read(self.expected(vendor).key)
                assert all(isinstance(text, str) and len(text) <= 1000 for text in dataclasses.astuple(found)[2:])
                assert len(found.web_url) <= 4000

    def test_only_projects_that_may_be_named_are_looked_at(self, at: Tracker, vendor: ScriptedVendor) -> None:
        if self.tracker.project_field is None:
            return
        at.projects = ["other"]
        vendor.play(self.read)
        calls = (lambda: at.read(self.expected(vendor).key), lambda: at.search("x", self.fields))
        for call in (*calls, lambda: at.describe(self.fields) if self.lookups else calls[1]()):
            with pytest.raises(ProviderForbidden):
                call()

    @pytest.mark.parametrize("piece", ["x", "word ", "@a ", "<", "\n", "[]"])
    def test_a_long_text_is_cut_before_the_marker(
        self, at: Tracker, piece: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limit = 5000
        if self.tracker.max_body_characters is None:
            return
        monkeypatch.setattr(self.tracker, "max_body_characters", limit)
        text = piece * (limit // len(piece) + 1)
        for changes in ({"description": text}, {"title": f"t{text}t"}, {"title": f"t{text}t", "description": text}):
            for at.markup in (False, True):
                body = at.body(self.issue(**changes))
                assert len(body) <= limit
                assert body.endswith(f"{at.paragraph_break}Reference: {MARKER}")
                assert len(body) > 0.9 * limit or piece == "\n"

    @pytest.mark.parametrize(
        ("patterns", "may"),
        [
            (["*"], True),
            (["{}"], True),
            (["other", "{}"], True),
            (["{upper}"], True),
            (["{start}*"], True),
            (["other"], False),
            (["{}x"], False),
            (["x{}"], False),
            (["{start}"], False),
            ([], False),
        ],
    )
    def test_the_projects_that_may_be_named(self, at: Tracker, patterns: list[str], may: bool) -> None:
        field = self.tracker.project_field
        if field is None:
            return
        name = self.fields[field]
        at.projects = [text.format(name, upper=name.upper(), start=name[:-1]) for text in patterns]
        for call in (
            lambda: at.check(self.issue().fields),
            lambda: at.check_project(at.project_of(self.created.key) or name),
        ):
            if may:
                call()
            else:
                with pytest.raises(ProviderForbidden, match="none of the projects that this organization may name"):
                    call()

    @pytest.mark.parametrize(
        ("status", "error", "acted"),
        [
            (400, ProviderRejected, False),
            (401, CredentialRefused, False),
            (403, ProviderForbidden, False),
            (404, ProviderNotFound, False),
            (409, ProviderConflict, False),
            (422, ProviderRejected, False),
            (429, ProviderRateLimited, False),
            (500, ProviderUnavailable, True),
            (502, ProviderUnavailable, True),
            (503, ProviderUnavailable, True),
        ],
    )
    def test_errors_carry_the_vendors_words(
        self, at: Tracker, vendor: ScriptedVendor, status: int, error: type[ProviderError], acted: bool
    ) -> None:
        answer, text, fields = self.complaint
        vendor.answers = [
            *(Response(json.dumps(step.answer), step.status) for step in self.create if step.method == "GET"),
            Response(json.dumps(answer), status, {"Retry-After": "7"} if status == 429 else None),
        ]
        with pytest.raises(ProviderError) as caught:
            at.create(self.issue())
        assert type(caught.value) is error
        assert str(caught.value) == f"{self.tracker.kind} responded with {status}: {text}"
        assert dict(caught.value.fields) == fields
        assert caught.value.may_have_acted is acted
        assert caught.value.retry_after == (7 if status == 429 else None)

    @pytest.mark.parametrize(
        "answer",
        [
            {"message": {"x": 1}},
            {"message": 7, "errors": 7},
            {"errors": [7, {"field": 7}]},
            {"error": {"msg": [7]}},
            [7],
        ],
    )
    def test_an_error_of_another_shape_is_the_same_error(
        self, at: Tracker, vendor: ScriptedVendor, answer: Any
    ) -> None:
        vendor.answer(answer, status=422)
        with pytest.raises(ProviderRejected, match=f"{self.tracker.kind} responded with 422"):
            at.create(self.issue())

    def test_no_value_of_a_response_is_believed(self, at: Tracker, vendor: ScriptedVendor) -> None:
        """Each value of each response, one by one."""

        def check(value: Any) -> None:
            at.http.deadline = time.monotonic() + 5
            vendor.requests.clear()
            for place, step in enumerate(self.create):
                for answer in changed(step.answer, value):
                    vendor.play(*self.create[:place], replace(step, answer=answer), *self.create[place + 1 :])
                    with at.reading():
                        try:
                            issue = at.create(self.issue())
                        except ProviderUnavailable as error:
                            assert error.may_have_acted
                        else:
                            # It was a value that is not read, or none that matters.
                            assert issue.key == self.expected(vendor).key
                            assert issue.web_url in (self.expected(vendor).web_url, value)

        check_rows(check, ((value,) for value in HOSTILE_VALUES))

    def test_a_success_that_says_nothing_may_have_been_one(self, at: Tracker, vendor: ScriptedVendor) -> None:
        def check(answer: str) -> None:
            at.http.deadline = time.monotonic() + 5
            vendor.requests.clear()
            vendor.answer(answer)
            with pytest.raises(ProviderUnavailable) as caught:
                at.create(self.issue())
            assert caught.value.may_have_acted

        check_rows(check, ((answer,) for answer in EMPTY_ANSWERS))

    def test_nothing_that_creates_is_repeated(self, at: Tracker, vendor: ScriptedVendor) -> None:
        vendor.answers = [
            *(Response(json.dumps(step.answer), step.status) for step in self.create if step.method == "GET"),
            Response("", 503),
        ]
        with pytest.raises(ProviderUnavailable):
            at.create(self.issue())
        assert [request.method for request in vendor.requests].count("POST") == 1

    def test_the_deadline_is_for_everything_together(self, vendor: ScriptedVendor) -> None:
        over = threading.Event()

        def wait() -> Response:
            over.wait(30)
            return Response("[]")

        vendor.answers = [wait]
        tracker = self.tracker(
            vendor.url + self.base_path, self.credential, deadline=time.monotonic() + 0.6, allowed_hosts=["localhost"]
        )
        try:
            with pytest.raises(ProviderTimeout) as caught:
                # Without a look-up, whose own end would let the request of the create come too late for this test.
                tracker.create(self.issue(fields=self.fields))
        finally:
            over.set()
        assert caught.value.may_have_acted
