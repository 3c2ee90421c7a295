"""The contract of trackers: what each does, whatever its vendor. It needs pytest."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from werkzeug.wrappers import Response

from flask_grpcweb_scm.scm.trackers.registry import unusable
from flask_grpcweb_scm.testing import hostile
from flask_grpcweb_scm.testing.vendor import SentRequest, Vendor
from flask_grpcweb_scm.trackers import (
    MAX_FOUND,
    Credential,
    NewIssue,
    ProviderError,
    ProviderForbidden,
    ProviderNotFound,
    ProviderRejected,
    ProviderTimeout,
    Tracker,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["SentRequest", "TrackerContract", "Vendor"]

SECRET = "s3cret-t0ken-of-the-contract"  # noqa: S105  # of nobody
SECONDS = 10


class TrackerContract:
    """A base class of tests: a subclass says which tracker, and has a stand-in for its vendor."""

    tracker: ClassVar[type[Tracker]]
    """The class to test."""
    fields: ClassVar[Mapping[str, str]]
    """Of an issue that the stand-in creates: required ones, and others that the tracker has."""
    foreign_keys: ClassVar[Sequence[str]]
    """Texts that look like a key, and are none."""
    complaint: ClassVar[tuple[Any, str]]
    """The JSON of an error of the vendor's, and a text of it that callers are to see."""
    markup: ClassVar[Sequence[str]] = ()
    """Pieces of text that the vendor reads as more than text, of two signs at least, such as ``@all`` and ``<b>``."""
    base_path: ClassVar[str] = ""
    """Path of the base URL at the stand-in."""
    credential: ClassVar[Credential] = Credential(token=SECRET)

    def vendor_app(self) -> WSGIApplication:
        """Make the stand-in: a WSGI app, such as a Flask app, that responds as the vendor does, and keeps issues."""
        raise NotImplementedError

    @pytest.fixture
    def vendor(self) -> Iterator[Vendor]:
        """The stand-in, at a port of 127.0.0.1."""
        with Vendor(self.vendor_app()).serving() as vendor:
            yield vendor

    @pytest.fixture
    def at(self, vendor: Vendor) -> Tracker:
        """The tracker, at the stand-in."""
        return self.open(vendor)

    def open(self, vendor: Vendor) -> Tracker:
        """Make the tracker, at the stand-in."""
        return self.tracker(
            vendor.url + self.base_path,
            self.credential,
            deadline=time.monotonic() + SECONDS,
            allowed_hosts=["127.0.0.1"],
        )

    def issue(self, **changes: Any) -> NewIssue:
        """Make an issue to create, unlike all others."""
        number = uuid.uuid4().hex
        since = datetime.now(timezone.utc) - timedelta(minutes=10)
        issue = NewIssue(f"Bug {number} ü", "It breaks.\n\nHere.", {**self.fields, "x": "y"}, f"scm{number}", since)
        return dataclasses.replace(issue, **changes)

    # The class

    def test_the_class_is_usable(self) -> None:
        """See the errors of entry points."""
        problem = unusable(self.tracker, self.tracker.kind)
        assert not problem, problem

    # Issues

    def test_an_issue_is_created_and_read(self, at: Tracker) -> None:
        """By the key that the tracker gave it."""
        issue = self.issue()
        at.check(issue.fields)
        created = at.create(issue)
        hostile.check_sound(created)
        found = at.read(created.key)
        hostile.check_sound(found)
        assert (found.key, found.web_url, found.title) == (created.key, created.web_url, issue.title)

    def test_an_issue_is_found_by_its_marker(self, at: Tracker) -> None:
        """And no other issue is."""
        issue, other = self.issue(), self.issue(title="Another")
        assert at.find(issue) is None, "find() returned an issue before there was one"
        created = at.create(issue)
        assert at.find(issue) == created
        assert at.find(other) is None, "find() returned the issue of another marker"

    @pytest.mark.parametrize("fault", hostile.LOST)
    def test_a_lost_response_makes_no_second_issue(self, at: Tracker, vendor: Vendor, fault: str) -> None:
        """Whichever request of a create it was the response of: what is not found is created again."""
        vendor.forget()
        at.create(self.issue())
        for place in range(len(vendor.requests)):
            at.http.deadline = time.monotonic() + SECONDS
            issue = self.issue()
            vendor.fail(hostile.LOST[fault], first=place)
            created = None
            try:
                with at.reading():
                    created = at.create(issue)
            except ProviderError as error:
                vendor.forget()
                with at.reading():
                    found = at.find(issue)
                if not error.may_have_acted:
                    assert found is None, f"request {place}: an error with may_have_acted=False left an issue"
                created = found or at.create(issue)
            vendor.forget()
            issues = [each.key for each in at.search(issue.title, issue.fields)]
            assert issues == [created.key], f"request {place}: the tracker has the issues {issues}, not {created.key}"

    def test_issues_are_found_by_words_of_their_titles(self, at: Tracker) -> None:
        """In the project that was named, and with what the tracker shows of them."""
        issues = [self.issue() for _ in range(3)]
        keys = [at.create(issue).key for issue in issues]
        [found] = at.search(issues[1].title.split()[1], self.fields)
        assert found == at.read(keys[1])
        assert len(at.search("Bug", self.fields)) <= MAX_FOUND

    def test_several_issues_are_read_at_once(self, at: Tracker) -> None:
        """With one request, if the tracker has such a one."""
        if self.tracker.batch_size == 1:
            return
        keys = [at.create(self.issue()).key for _ in range(2)]
        alone = {key: at.read(key) for key in keys}
        assert at.read_many(keys) == alone
        assert at.read_many(keys[:1]) == {keys[0]: alone[keys[0]]}

    def test_an_issue_that_is_not_there(self, at: Tracker, vendor: Vendor) -> None:
        """Is not found, however well its key looks."""
        key = re.sub(r"[0-9]+$", "999999", at.create(self.issue()).key)
        with pytest.raises(ProviderNotFound), at.reading():
            at.read(key)

    def test_an_issue_is_named_by_its_key_or_its_page(self, at: Tracker, vendor: Vendor) -> None:
        """Without a request."""
        created = at.create(self.issue())
        vendor.forget()
        for text in (created.key, f" {created.key}\n", created.web_url):
            assert at.key_of(text) == created.key, text
        elsewhere = created.web_url.replace("://", "://elsewhere.")
        for text in ("", "x" * 300, "#", "ISSUE-1/../..", elsewhere, vendor.url, "https://[x", *self.foreign_keys):
            with pytest.raises(ProviderRejected):
                pytest.fail(f"{text!r} became the key {at.key_of(text)!r}")
            if text != elsewhere:
                with pytest.raises(ProviderRejected):
                    at.comment(text, "text")
        assert vendor.requests == []

    def test_comments_are_sent(self, at: Tracker, vendor: Vendor) -> None:
        """With their words."""
        key = at.create(self.issue()).key
        vendor.forget()
        at.comment(key, "Linked words")
        assert any("Linked words" in text for text in vendor.texts())
        comments = at.comments(key)
        assert comments is None or any("Linked words" in text for text in comments), "comments() does not show them"

    # What callers send

    def test_what_is_required_is_missed_by_its_name(self, at: Tracker, vendor: Vendor) -> None:
        """Before there is a request."""
        for name in self.tracker.required:
            for value in ({}, {name: ""}):
                with pytest.raises(ProviderRejected) as refusal:
                    at.check({**{key: text for key, text in self.fields.items() if key != name}, **value})
                assert list(refusal.value.fields) == [f"metadata.{name}"]
                assert name in str(refusal.value)
        assert vendor.requests == []

    def test_fields_are_described(self, at: Tracker) -> None:
        """Each once, required ones first."""
        described = at.describe(self.fields)
        names = [field.name for field in described]
        assert len(names) == len(set(names))
        assert [field.required for field in described] == sorted((each.required for each in described), reverse=True)
        assert set(self.tracker.required) - set(names) in (set(), set(self.tracker.required))

    def test_no_field_leads_astray(self, at: Tracker, vendor: Vendor) -> None:
        """A value is refused, or is part of no path: not as one that climbs, and not as another header."""
        vendor.forget()
        at.create(self.issue())
        depths = {request.target.partition("?")[0].count("/") for request in vendor.requests}
        for name in self.fields:
            for value in hostile.FIELDS:
                at.http.deadline = time.monotonic() + SECONDS
                issue = self.issue(fields={**self.fields, name: value})
                vendor.forget()
                with contextlib.suppress(ProviderError), at.reading():
                    at.check(issue.fields)
                    at.create(issue)
                for request in vendor.requests:
                    path = request.target.partition("?")[0]
                    assert path.count("/") in depths, f"{name}={value!r:.80} became a part of {path:.200}"
                    assert not {".", ".."} & set(path.lower().replace("%2e", ".").split("/")), path

    @pytest.mark.parametrize("patterns", [["other"], ["{}x"], ["x{}"], []])
    def test_only_projects_that_may_be_named(self, at: Tracker, patterns: list[str]) -> None:
        """Are created in, searched, and read of."""
        field = self.tracker.project_field
        if field is None:
            return
        key, name = at.create(self.issue()).key, self.fields[field]
        at.projects = [pattern.format(name) for pattern in patterns]
        calls: list[Callable[[], object]] = [
            lambda: at.check(self.fields),
            lambda: at.search("Bug", self.fields),
            lambda: at.read(key),
        ]
        for call in calls:
            with pytest.raises(ProviderForbidden):
                call()
        at.projects = ["other", name[:-1] + "*"]
        for call in calls:
            call()

    # Texts

    def test_a_title_that_fits_is_sent_as_it_is(self, at: Tracker, vendor: Vendor) -> None:
        """However much it looks like markup."""
        for title in ("a  b", "<b> @all #1 /close", "ü" * (self.tracker.max_title_characters or 5000)):
            vendor.forget()
            at.create(self.issue(title=title))
            assert {text for text in vendor.texts() if text.startswith(title[:99])} == {title}

    def test_a_title_is_one_line(self, at: Tracker, vendor: Vendor) -> None:
        """Whatever breaks lines."""
        for title in ("two\nlines", "two\r\n\r\nlines\n", "\ttwo\x0b\u2028lines"):
            vendor.forget()
            at.create(self.issue(title=title))
            assert "two lines" in vendor.texts()

    def test_a_long_title_is_cut_and_opens_the_description(self, at: Tracker, vendor: Vendor) -> None:
        """At the limit of the tracker."""
        limit = self.tracker.max_title_characters
        if limit is None:
            return
        title = "word " * limit + "end"
        vendor.forget()
        at.create(self.issue(title=title))
        [short, *others] = sorted((text for text in vendor.texts() if text.startswith("word word")), key=len)
        assert limit - 5 <= len(short) <= limit
        assert short.endswith("…")
        assert title.startswith(short[:-1])
        assert any(text.startswith(title) for text in others), "the whole title does not open the description"

    def test_a_long_description_is_cut_before_the_marker(self, at: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
        """At the limit of the tracker."""
        if self.tracker.max_body_characters is None:
            return
        limit = 5000
        monkeypatch.setattr(self.tracker, "max_body_characters", limit)
        for piece in ("word ", *self.markup):
            issue = self.issue(description=piece * (limit // len(piece) + 1))
            body = at.body(issue)
            assert len(body) <= limit
            assert issue.marker in body[-len(issue.marker) - 20 :]

    def test_text_is_text(self, at: Tracker, vendor: Vendor) -> None:
        """No piece of markup reaches the vendor as such, in descriptions and in comments."""
        key = at.create(self.issue()).key
        for piece in self.markup:
            for text in (piece, f"a\n{piece} b"):
                vendor.forget()
                at.create(self.issue(title="t", description=text))
                at.comment(key, text)
                assert not [sent for sent in vendor.texts() if piece in sent], f"{piece!r} was sent as it is"
        vendor.forget()
        at.create(self.issue(title="t", description=f"a{hostile.UNREADABLE}b"))
        at.comment(key, f"a{hostile.UNREADABLE}b")
        assert not [sent for sent in vendor.texts() if set(sent) & set(hostile.UNREADABLE)]

    # What the vendor sends

    @pytest.mark.parametrize("status", hostile.STATUSES)
    def test_refusals(self, at: Tracker, vendor: Vendor, status: int) -> None:
        """Each status is an error of its class, in the vendor's words, with what it means for the issue."""
        answer, words = self.complaint
        headers = {"Retry-After": "77"} if status == 429 else {}
        refusal = Response(json.dumps(answer), status, headers, mimetype="application/json")
        for call, vendors in self.calls(at, vendor):
            for place in range(vendors):
                at.http.deadline = time.monotonic() + SECONDS
                vendor.fail(lambda run: refusal, first=place)
                error = hostile.caught(call)
                if error is None:
                    # A look-up that the call can do without.
                    assert len(vendor.requests) > place + 1, f"{status} was taken for a success"
                    continue
                assert isinstance(error, hostile.STATUSES[status]), f"{status} became {type(error).__name__}: {error}"
                assert words in str(error)
                assert "\n" not in str(error)
                assert not error.may_have_acted or status >= 500, f"{status} is certain: may_have_acted must be False"
                assert error.retry_after == (77 if status == 429 else None)

    def test_a_redirect_to_a_login_page_is_about_the_token(self, at: Tracker, vendor: Vendor) -> None:
        """And is not followed."""
        vendor.fail(lambda run: Response("", 302, {"Location": "https://login.example/"}))
        with pytest.raises(ProviderError, match="is the token good"):
            at.search("Bug", self.fields)
        assert len(vendor.requests) == 1

    def test_no_error_has_the_secret(self, at: Tracker, vendor: Vendor) -> None:
        """Should the vendor repeat it."""
        secret = self.credential.token or self.credential.password
        answer = json.loads(json.dumps(self.complaint[0]).replace(self.complaint[1], f"{secret} {self.complaint[1]}"))
        vendor.fail(lambda run: Response(json.dumps(answer), 400, mimetype="application/json"))
        with pytest.raises(ProviderError) as refusal:
            at.search("Bug", self.fields)
        assert secret not in f"{refusal.value} {refusal.value.private} {dict(refusal.value.fields)}"
        assert secret not in "".join(request.target for request in vendor.requests), "an address has the secret"

    def test_a_vendor_that_is_slow(self, at: Tracker, vendor: Vendor) -> None:
        """Is waited for until the deadline, by each call."""
        end = threading.Event()

        def slowly(run: Callable[[], Response]) -> Response:
            end.wait(SECONDS)
            return run()

        for call, _ in self.calls(at, vendor):
            vendor.fail(slowly)
            at.http.deadline = time.monotonic() + 0.2
            with pytest.raises(ProviderTimeout):
                call()
        end.set()

    def test_garbage_is_no_issue(self, at: Tracker, vendor: Vendor) -> None:
        """Whatever comes in place of a response."""
        for call, vendors in self.calls(at, vendor):
            for body in hostile.GARBAGE:
                for place in range(vendors):
                    at.http.deadline = time.monotonic() + SECONDS
                    vendor.fail(lambda run, body=body: Response(body, mimetype="application/json"), first=place)  # type: ignore[misc]
                    with contextlib.suppress(ProviderError), at.reading():
                        hostile.check_sound(call())

    @pytest.mark.parametrize("value", hostile.VALUES, ids=lambda value: repr(value)[:20])
    def test_no_value_of_a_response_is_believed(self, at: Tracker, vendor: Vendor, value: Any) -> None:
        """Each value of each response, one by one."""
        for call, vendors in self.calls(at, vendor):
            vendor.forget()
            call()
            for place, response in enumerate(vendor.responses[:vendors]):
                answers = hostile.changed_values(json.loads(response.get_data() or "null"), value)
                for changed in itertools.islice(answers, hostile.MAX_CHANGED):
                    text = json.dumps(changed)
                    at.http.deadline = time.monotonic() + SECONDS
                    vendor.fail(hostile.once(place, text), first=0)
                    with contextlib.suppress(ProviderError), at.reading():
                        hostile.check_sound(call())

    def calls(self, at: Tracker, vendor: Vendor) -> Iterator[tuple[Callable[[], object], int]]:
        """Yield the calls of a tracker that read responses, each with the number of its requests."""
        issue = self.issue()
        key = at.create(issue).key
        for call in (
            lambda: at.create(self.issue()),
            lambda: at.find(issue),
            lambda: at.read(key),
            lambda: at.search(issue.title.split()[1], self.fields),
            lambda: at.comment(key, "text"),
        ):
            vendor.forget()
            at.http.deadline = time.monotonic() + SECONDS
            call()
            yield call, len(vendor.requests)
