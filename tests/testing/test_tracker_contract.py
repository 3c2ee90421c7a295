"""The contract of trackers finds what is wrong with one: each tracker here has one fault, and fails the test of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from flask_grpcweb_scm.testing.trackers import Vendor
from flask_grpcweb_scm.trackers import FoundIssue, ProviderError, ProviderForbidden, TrackerIssue
from tests.scm.trackers.test_own_tracker import Linear
from tests.scm.trackers.test_own_tracker import TestLinear as OfLinear
from tests.tables import check_rows


class FindsNothing(Linear):  # type: ignore[misc]
    def _id(self, issue: Any) -> str:
        return str(uuid.uuid4())


class FindsAnything(Linear):  # type: ignore[misc]
    def find(self, issue: Any) -> Any:
        found = self.search("bug", issue.fields)
        return TrackerIssue(found[0].key, found[0].web_url) if found else None


class IsCertain(Linear):  # type: ignore[misc]
    def create(self, issue: Any) -> Any:
        try:
            return super().create(issue)
        except ProviderError as error:
            error.may_have_acted = False
            raise


class IsUncertain(Linear):  # type: ignore[misc]
    def create(self, issue: Any) -> Any:
        try:
            return super().create(issue)
        except ProviderError as error:
            error.may_have_acted = True
            raise


class Raw(Linear):  # type: ignore[misc]
    def write(self, text: str) -> str:
        return text


class Long(Linear):  # type: ignore[misc]
    def title(self, issue: Any) -> str:
        return str(issue.title)


class Everywhere(Linear):  # type: ignore[misc]
    def check_project(self, name: str) -> None:
        """Allow every project."""


class Strict(Linear):  # type: ignore[misc]
    error_kind = classmethod(lambda cls, error: ProviderForbidden)


class Silent(Linear):  # type: ignore[misc]
    def search(self, text: str, fields: Any) -> Any:
        try:
            return super().search(text, fields)
        except ProviderError:
            return []


class Believes(Linear):  # type: ignore[misc]
    def _found(self, reply: Any) -> Any:
        nodes = reply.json()["data"]["issues"]["nodes"]
        return [FoundIssue(node["identifier"], node["url"], node["title"]) for node in nodes]


class Mute(Linear):  # type: ignore[misc]
    def explain(self, error: Any = None) -> Any:
        return "", {}


class AnyKey(Linear):  # type: ignore[misc]
    def key_of(self, text: str) -> str:
        return text.strip()


class Tells(Linear):  # type: ignore[misc]
    def search(self, text: str, fields: Any) -> Any:
        self.http.get("/search", query={"token": self.credential.token})


@pytest.mark.needs("time")
def test_every_fault_is_found() -> None:
    def check(tracker: type[Any], name: str, *arguments: Any) -> None:
        contract = type("Contract", (OfLinear,), {"tracker": tracker})()
        test: Callable[..., None] = getattr(contract, name)
        with Vendor(contract.vendor_app()).serving() as vendor:
            given = {"at": contract.open(vendor), "vendor": vendor}
            names = test.__code__.co_varnames[1 : test.__code__.co_argcount]
            values = {each: given[each] for each in names if each in given}
            rest = dict(zip([each for each in names if each not in given], arguments, strict=True))
            # Of Linear itself the test passes: see TestLinear.
            with pytest.raises((AssertionError, ProviderError, pytest.fail.Exception, TypeError, KeyError)):
                test(**values, **rest)

    check_rows(
        check,
        [
            (FindsNothing, "test_a_lost_response_makes_no_second_issue", "cut after"),
            (FindsNothing, "test_an_issue_is_found_by_its_marker"),
            (FindsAnything, "test_an_issue_is_found_by_its_marker"),
            (IsCertain, "test_a_lost_response_makes_no_second_issue", "nonsense after"),
            (IsUncertain, "test_refusals", 403),
            (Raw, "test_text_is_text"),
            (Long, "test_a_long_title_is_cut_and_opens_the_description"),
            (Long, "test_a_title_is_one_line"),
            (Everywhere, "test_only_projects_that_may_be_named", ["other"]),
            (Strict, "test_refusals", 429),
            (Silent, "test_refusals", 404),
            (Silent, "test_a_redirect_to_a_login_page_is_about_the_token"),
            (Believes, "test_no_value_of_a_response_is_believed", "javascript:alert(1)"),
            (Mute, "test_refusals", 400),
            (AnyKey, "test_an_issue_is_named_by_its_key_or_its_page"),
            (Tells, "test_no_error_has_the_secret"),
        ],
    )
