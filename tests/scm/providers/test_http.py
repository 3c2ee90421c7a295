"""The HTTP client for trackers, against servers that do what they should not."""

from __future__ import annotations

import json
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from flask_grpcweb_scm.scm.providers import (
    Credential,
    CredentialRefused,
    ProviderConflict,
    ProviderError,
    ProviderForbidden,
    ProviderMisconfigured,
    ProviderNotFound,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
    find_credential,
)
from flask_grpcweb_scm.scm.providers.http import HttpClient
from flask_grpcweb_scm.scm.trackers.github import GitHub
from tests.client.scripted import Peer, Script, http, serve

SECRET = "s3cret-t0ken"
PEM = Path(__file__).parent.parent.parent / "client/localhost.pem"
JSON = b'{"id": 1}'


def client(url: str, *, timeout: float = 5, allowed: Any = ("127.0.0.1", "localhost"), **options: Any) -> HttpClient:
    return HttpClient(
        url,
        provider="github",
        deadline=time.monotonic() + timeout,
        authorization=f"Bearer {SECRET}",
        credential=Credential(token=SECRET),
        allowed_hosts=allowed,
        **options,
    )


def answer(*parts: bytes) -> Script:
    """Sends these answers, one a request, the last one for ever."""
    left = list(parts)
    return lambda peer: peer.send(left.pop(0) if len(left) > 1 else left[0])


def refusal(error: type[ProviderError], call: Callable[[], object]) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        call()
    assert type(caught.value) is error, caught.value
    assert SECRET not in str(caught.value)
    return caught.value


def test_a_request_and_its_answer() -> None:
    seen = []

    def script(peer: Peer) -> None:
        seen.append((peer.target, peer.body))
        peer.send(http(JSON, "X-One: 1"))

    with serve(script) as server:
        reply = client(server.url + "/api/v3/").request("POST", "/a%2Fb", query={"q": "ü &"}, json={"t": "ü"})
    assert (reply.status, reply.headers["x-one"], reply.json()) == (200, "1", {"id": 1})
    assert seen == [("POST /api/v3/a%2Fb?q=%C3%BC+%26 HTTP/1.1", '{"t":"ü"}'.encode())]
    assert server.requests[0]["authorization"] == f"Bearer {SECRET}"
    assert server.requests[0]["content-type"] == "application/json"
    assert server.requests[0]["accept-encoding"] == "identity"


# Deadlines


@pytest.mark.parametrize(
    "script",
    [
        lambda peer: peer.wait(),
        lambda peer: peer.drip(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200, 0.05),
        lambda peer: (peer.send(http(b"x" * 100)[:-100]), peer.drip(b"x" * 100, 0.05)),
        lambda peer: (peer.send(b"HTTP/1.1 200 OK\r\n"), peer.wait()),
        lambda peer: (peer.send(b"HTTP/1.1 200 OK\r\n\r\n" + JSON), peer.wait()),
    ],
    ids=[
        "silent",
        "dribbles the head",
        "dribbles the body",
        "silent within the head",
        "silent after a body to the end",
    ],
)
def test_no_server_outlives_the_deadline(script: Script) -> None:
    with serve(script) as server:
        started = time.monotonic()
        error = refusal(ProviderTimeout, lambda: client(server.url, timeout=0.8).request("POST", "/x", json={}))
        assert time.monotonic() - started < 8
    assert error.may_have_acted


def test_a_handshake_does_not_outlive_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # whose backlog takes the connection
        started = time.monotonic()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        error = refusal(ProviderTimeout, lambda: client(url, timeout=0.8).request("POST", "/x", json={}))
        assert time.monotonic() - started < 8
    assert not error.may_have_acted


def test_a_slow_resolver_does_not_outlive_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def resolver(*args: Any, **kwargs: Any) -> Any:
        answered.wait(10)
        return addresses("127.0.0.1")

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    started = time.monotonic()
    assert not refusal(ProviderTimeout, lambda: client("https://slow.test", timeout=0.3).get("/")).may_have_acted
    assert time.monotonic() - started < 8
    answered.set()


# Which servers


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.1", "2130706433", "0x7f000001"])
def test_a_private_host_is_refused_however_it_is_written(host: str) -> None:
    with serve(answer(http(JSON))) as server:
        error = refusal(
            ProviderMisconfigured,
            lambda: client(f"https://{host}:{server.port}", allowed=()).request("POST", "/", json={}),
        )
        assert server.connections == 0
    assert "GRPC_SCM_ALLOWED_HOSTS" in str(error)
    assert not error.may_have_acted


def addresses(*texts: str) -> list[Any]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, 443)) for text in texts]


def test_one_private_address_among_others_is_one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: addresses("93.184.215.14", "10.0.0.1"))
    error = refusal(ProviderMisconfigured, lambda: client("https://mixed.test").get("/"))
    assert "10.0.0.1" not in str(error)


def test_a_name_is_resolved_once_so_that_it_cannot_change_its_mind(monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = socket.getaddrinfo, []

    def resolver(host: str, *args: Any, **kwargs: Any) -> Any:
        if host != "tracker.test":
            return real(host, *args, **kwargs)
        asked.append(host)
        return addresses("127.0.0.1" if len(asked) == 1 else "93.184.215.14")

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    with serve(answer(http(JSON))) as server:
        assert client(f"http://tracker.test:{server.port}", allowed=["tracker.test"]).get("/").json() == {"id": 1}
    assert asked == ["tracker.test"]
    assert server.requests[0]["host"] == f"tracker.test:{server.port}"


def test_an_address_that_does_not_answer_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def resolver(host: str, *args: Any, **kwargs: Any) -> Any:
        return addresses("127.0.0.2", "127.0.0.1") if host == "tracker.test" else real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    with serve(answer(http(JSON))) as server, socket.socket() as full:
        full.bind(("127.0.0.2", server.port))
        full.listen(0)
        # Connections of clients that nobody accepts fill its queue; the next one gets no answer.
        waiting = [socket.socket() for _ in range(3)]
        for client_socket in waiting:
            client_socket.setblocking(False)
            client_socket.connect_ex(("127.0.0.2", server.port))
        asking = client(f"http://tracker.test:{server.port}", timeout=2, allowed=["tracker.test"])
        assert asking.get("/").json() == {"id": 1}
        for client_socket in waiting:
            client_socket.close()


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serve(answer(http(JSON))) as server:
        assert client(server.url).get("/").status == 200


@pytest.mark.parametrize(
    "url",
    [
        "", "api.example", "ftp://api.example", "file:///etc/passwd", "https://", "https://u:p4ss@api.example",
        "https://api.example?x=1", "https://api.example#x", "http://api.example", "https://[::1", None, 7,
    ],
)  # fmt: skip
def test_a_base_url_that_cannot_be_used_is_refused_at_once(url: Any) -> None:
    with pytest.raises(ProviderMisconfigured, match="base_url") as caught:
        client(url)
    assert "p4ss" not in str(caught.value)


def test_a_certificate_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    with serve(answer(http(JSON)), context) as server:
        error = refusal(ProviderUnavailable, lambda: client(server.url).request("POST", "/", json={}))
        assert "certificate" in str(error)
        assert not error.may_have_acted
        monkeypatch.setenv("SSL_CERT_FILE", str(PEM))
        assert client(server.url).get("/").json() == {"id": 1}


# Redirects


def redirect(status: str, location: str) -> bytes:
    return http(b"", f"Location: {location}", status=status)


def test_a_redirect_at_the_same_host_is_followed() -> None:
    with serve(answer(redirect("301 Moved", "/moved?x=1"), http(JSON))) as server:
        assert client(server.url).get("/old").json() == {"id": 1}
    with serve(answer(redirect("307 Temporary", "/moved"), http(JSON))) as server:
        assert client(server.url).request("POST", "/old", json={}).json() == {"id": 1}


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_a_redirect_to_another_host_is_not(status: str) -> None:
    with serve(answer(http(JSON))) as other:
        for location in (f"http://localhost:{other.port}/", f"//127.0.0.1:{other.port}/", "https://elsewhere.test/"):
            with serve(answer(redirect(status, location))) as server:
                assert "redirects to" in str(refusal(ProviderMisconfigured, lambda: client(server.url).get("/")))
        assert other.connections == 0


@pytest.mark.parametrize(
    ("status", "kind", "text", "acted"),
    [
        ("301 Moved", ProviderMisconfigured, "what the request names has moved; name it as it is called now", False),
        ("302 Found", ProviderMisconfigured, "redirects the request: .* is the token good[?]", False),
        ("303 See Other", ProviderUnavailable, "which does not say what it has done", True),
    ],
)
def test_what_is_not_idempotent_does_not_become_a_get(
    status: str, kind: type[ProviderError], text: str, acted: bool
) -> None:
    with serve(answer(redirect(status, "/x"))) as server:
        error = refusal(kind, lambda: client(server.url).request("POST", "/", json={}))
        assert len(server.requests) == 1
    assert re.search(text, str(error))
    assert error.may_have_acted is acted


def test_a_page_to_sign_in_on_is_no_response() -> None:
    page = http(b"<html><input name=p type='password'>", content_type="text/html; charset=utf-8")
    with serve(answer(page)) as server:
        error = refusal(ProviderMisconfigured, lambda: client(server.url).get("/").json())
    assert str(error) == "github sent a page to sign in on; is base_url right, and is the token good?"
    assert error.may_have_acted


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (403, "Resource protected by organization SAML enforcement.", "; authorize the token for the single sign-on"),
        (403, "Repository was archived so is read-only.", "; bring the project back from the archive"),
        (410, "Issues are disabled for this repo", "; switch issues on in the settings of the project"),
        (409, "Your issue has been recognized as spam.", "; change the text"),
        (404, "Not Found", "responded with 404: Not Found$"),
    ],
)
def test_refusals_say_what_to_do(status: int, text: str, expected: str) -> None:
    body = json.dumps({"message": text}).encode()
    with serve(answer(http(body, status=f"{status} Odd"))) as server, pytest.raises(ProviderError) as caught:
        client(server.url).get("/")
    error = caught.value
    assert re.search(re.escape(text) + expected if expected[0] == ";" else expected, str(error))


CLIMBING = [
    "/../admin/create", "/admin", "/", "/trackers/x", "/tracke", "//tracker/x", "/tracker/../admin",
    "../admin", "../../admin", "/tracker/%2e%2e/admin", "/tracker/%2E%2E%2Fadmin", "/tracker/..%2fadmin",
    "/tracker/.%2e/admin",
    "/tracker/%252e%252e/admin", "/tracker/%25252e%25252e/admin", "/tracker/..;/admin", "/tracker/..;a=b/admin",
    "/tracker\\..\\admin", "/tracker/..\\admin", "/tracker/%5c..%5cadmin", "/tracker/%2e%2e%5cadmin",
    "/%74racker/../admin",
    "/tracker/./../../admin", "\\\\evil.example/tracker/x", "/\\evil.example/tracker/x", "/TRACKER/x",
]  # fmt: skip


@pytest.mark.parametrize("location", CLIMBING)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_redirect_stays_below_the_base_url(location: str, method: str) -> None:
    with serve(answer(redirect("307 Temporary", location), http(JSON))) as server:
        error = refusal(ProviderMisconfigured, lambda: client(server.url + "/tracker").request(method, "/x"))
        assert len(server.requests) == 1
    assert "redirects to" in str(error)


@pytest.mark.parametrize(
    "location",
    [
        "/tracker/y",
        "y",
        "/x/../tracker/y",
        "./y",
        "/tracker/a/../y",
        "/tracker/a%2Fb",
        "?x=/../..",
        "/tracker/y#../..",
        "/tracker/.y",
        "/%74racker/y",
    ],
)
def test_a_redirect_below_the_base_url_is_followed(location: str) -> None:
    with serve(answer(redirect("307 Temporary", location), http(JSON))) as server:
        assert client(server.url + "/tracker/").get("/x").json() == {"id": 1}


@pytest.mark.parametrize(
    "location",
    ["https://127.0.0.1:{port}/", "http://127.0.0.1:1/", "http://u@127.0.0.1:{port}/", "http://u:p@127.0.0.1:{port}/",
     "http://127.0.0.1.evil.example:{port}/", "http://2130706433:{port}/", "http://[::1]:{port}/", "ftp://127.0.0.1:{port}/",
     "javascript:alert(1)", "//evil.example/"],
)  # fmt: skip
def test_a_redirect_elsewhere_names_no_host_to_callers(location: str, caplog: pytest.LogCaptureFixture) -> None:
    with serve(lambda peer: peer.send(redirect("307 T", location.format(port=peer.server.port)))) as server:
        error = refusal(ProviderMisconfigured, lambda: client(server.url).request("POST", "/", json={}))
        assert len(server.requests) == 1
    assert str(error).startswith("github redirects to another host")
    assert error.private.startswith(f"127.0.0.1:{server.port} redirects to ")
    assert error.private in caplog.text


def test_a_redirect_to_what_is_no_url_leads_nowhere() -> None:
    with serve(answer(redirect("302 Found", "http://[x"))) as server:
        refusal(ProviderUnavailable, lambda: client(server.url).request("POST", "/", json={}))


def test_redirects_end() -> None:
    with serve(answer(redirect("302 Found", "/"))) as server:
        refusal(ProviderMisconfigured, lambda: client(server.url).get("/"))
        assert len(server.requests) == 4


# Answers


@pytest.mark.parametrize(
    ("status", "error", "acted"),
    [
        ("400 Bad Request", ProviderRejected, False),
        ("401 Unauthorized", CredentialRefused, False),
        ("403 Forbidden", ProviderForbidden, False),
        ("404 Not Found", ProviderNotFound, False),
        ("405 Method Not Allowed", ProviderMisconfigured, False),
        ("408 Request Timeout", ProviderTimeout, True),
        ("409 Conflict", ProviderConflict, False),
        ("418 Teapot", ProviderRejected, False),
        ("422 Unprocessable", ProviderRejected, False),
        ("429 Too Many", ProviderRateLimited, False),
        ("500 Internal", ProviderUnavailable, True),
        ("503 Unavailable", ProviderUnavailable, True),
        ("599 Odd", ProviderUnavailable, True),
        ("302 Found", ProviderUnavailable, False),
    ],
)
def test_a_status_is_an_error_that_has_the_evidence(status: str, error: type[ProviderError], acted: bool) -> None:
    with serve(answer(http(b'{"message": "no\\r\\n\\u001b[31m way"}', status=status))) as server:
        found = refusal(error, lambda: client(server.url).request("POST", "/", json={}))
        assert len(server.requests) == 1
    assert (found.status, found.provider, found.may_have_acted) == (int(status[:3]), "github", acted)
    assert str(found) == f"github responded with {status[:3]}: no [31m way"


@pytest.mark.parametrize("status", ["600 Odd", "999 Odd", "101 Switching Protocols"])
def test_a_status_of_no_kind_may_have_been_a_success(status: str) -> None:
    with serve(answer(http(JSON, status=status))) as server:
        assert refusal(ProviderUnavailable, lambda: client(server.url).request("POST", "/", json={})).may_have_acted


INFORMATION = [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlocation: https://x.example/\r\n\r\n"]


@pytest.mark.parametrize("information", [*INFORMATION, INFORMATION[1] * 9 + INFORMATION[0] * 9])
def test_informational_responses_are_skipped(information: bytes) -> None:
    with serve(answer(information + http(JSON))) as server:
        assert client(server.url).request("POST", "/", json={}).json() == {"id": 1}


@pytest.mark.parametrize("information", INFORMATION)
def test_informational_responses_without_an_end_end(information: bytes) -> None:
    def script(peer: Peer) -> None:
        while not peer.server.stopped.is_set():
            peer.send(information * 100)

    with serve(script) as server:
        refusal(ProviderUnavailable, lambda: client(server.url, timeout=20).request("POST", "/", json={}))


@pytest.mark.parametrize("body", [b"<h1>/srv/secret</h1>", b"[]", b"null", b'{"x": 1}', b"[" * 10**5, b"\xff"])
def test_what_is_no_message_of_the_tracker_is_not_repeated(body: bytes) -> None:
    with serve(answer(http(body, status="422 No"))) as server:
        assert str(refusal(ProviderRejected, lambda: client(server.url).get("/"))) == "github responded with 422"


def test_a_credential_that_is_sent_back_is_not_repeated() -> None:
    with serve(answer(http(json.dumps({"message": f"bad token {SECRET}"}).encode(), status="401 No"))) as server:
        assert (
            str(refusal(CredentialRefused, lambda: client(server.url).get("/")))
            == "github responded with 401: bad token …"
        )


def test_a_message_has_few_fields() -> None:
    fields = [{"field": f"f{number}", "code": "x" * 999} for number in range(2_000)]
    body = json.dumps({"message": "no", "errors": fields}).encode()
    with serve(answer(http(body, status="422 No"))) as server:
        error = refusal(ProviderRejected, lambda: client(server.url, explain=GitHub.explain).get("/"))
    assert len(error.fields) == 20
    assert max(map(len, error.fields.values())) < 600


def test_a_long_message_is_cut() -> None:
    with serve(answer(http(json.dumps({"message": "x" * 9999}).encode(), status="400 No"))) as server:
        assert len(str(refusal(ProviderRejected, lambda: client(server.url).get("/")))) < 600


@pytest.mark.parametrize(
    "sent",
    [
        http(b"<html>", content_type="text/html"),
        http(b"[" * 10**5),
        http(JSON, "Content-Encoding: gzip"),
        http(b"\xff\xfe"),
    ],
)
def test_a_success_that_cannot_be_read_may_have_been_one(sent: bytes) -> None:
    with serve(answer(sent)) as server:
        error = refusal(ProviderUnavailable, lambda: client(server.url).request("POST", "/", json={}).json())
    assert error.may_have_acted


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"HTTP/1.1 20",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK",
        http(JSON)[:-1],
        b"SSH-2.0-x\r\n\r\n",
        b"x" * 10**6,
    ],
)
def test_a_connection_that_is_cut_may_have_been_a_success(sent: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.send(sent)
        peer.shut_down()

    with serve(script) as server:
        error = refusal(ProviderUnavailable, lambda: client(server.url).request("POST", "/", json={}))
        assert len(server.requests) == 1
    assert error.may_have_acted


def test_a_server_that_is_not_there_has_done_nothing() -> None:
    with serve(answer(b"")) as server:
        url = server.url
    error = refusal(ProviderUnavailable, lambda: client(url).request("POST", "/", json={}))
    assert not error.may_have_acted
    assert "cannot be reached" in str(error)


def test_a_body_is_bounded_whatever_its_length_says() -> None:
    def endless(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            peer.send(b"x" * 65536)

    for script in (answer(http(b"x" * 1001)), endless):
        with serve(script) as server:
            refusal(ProviderUnavailable, lambda: client(server.url, max_body_bytes=1000).request("POST", "/", json={}))
    with serve(answer(http(b"1" * 1000))) as server:
        assert len(client(server.url, max_body_bytes=1000).get("/").body) == 1000


# Trying again

UNAVAILABLE = http(b"", status="503 Unavailable")


def test_only_what_is_idempotent_is_tried_again() -> None:
    with serve(answer(UNAVAILABLE, UNAVAILABLE, http(JSON))) as server:
        assert client(server.url).get("/").json() == {"id": 1}
        assert len(server.requests) == 3
    with serve(answer(UNAVAILABLE, http(JSON))) as server:
        refusal(ProviderUnavailable, lambda: client(server.url).request("POST", "/", json={}))
        assert len(server.requests) == 1


def test_trying_again_ends() -> None:
    with serve(answer(UNAVAILABLE)) as server:
        refusal(ProviderUnavailable, lambda: client(server.url).get("/"))
        assert len(server.requests) == 3


def test_retry_after_is_obeyed_where_the_deadline_has_room_for_it() -> None:
    with serve(answer(http(b"", "Retry-After: 1", status="429 Slow"), http(JSON))) as server:
        started = time.monotonic()
        client(server.url).get("/")
        assert time.monotonic() - started >= 1
    with serve(answer(http(b"", "Retry-After: 60", status="429 Slow"))) as server:
        assert refusal(ProviderRateLimited, lambda: client(server.url).get("/")).retry_after == 60
        assert len(server.requests) == 1


NOW = datetime.now(timezone.utc)
IN_AN_HOUR = NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (["Retry-After: 7"], 7),
        (["Retry-After: 0"], 0),
        (["Retry-After: -7"], None),
        (["Retry-After: soon"], None),
        (["Retry-After: 99999999999999999999"], 86400),
        ([f"Retry-After: {'9' * 5000}"], None),
        (["Retry-After: ²"], None),
        (["Retry-After: Mon, 31 Feb 2026 99:99:99 GMT"], None),
        (["Retry-After: Fri, 31 Dec 9999 23:59:59 -9999"], None),
        (["Retry-After: Fri, 31 Dec 9999 23:59:59 GMT"], 86400),
        (["Retry-After: Mon, 01 Jan 0001 00:00:00 +1400"], 0),
        ([f"X-RateLimit-Reset: {2**63}", "X-RateLimit-Remaining: 0"], 86400),
        (["Retry-After: 7.5"], None),
        (["Retry-After: Wed, 21 Oct 2015 07:28:00 GMT"], 0),
        ([f"Retry-After: {format_datetime(IN_AN_HOUR, usegmt=True)}"], 3600),
        ([f"X-RateLimit-Reset: {int(IN_AN_HOUR.timestamp())}", "X-RateLimit-Remaining: 0"], 3600),
        ([f"X-RateLimit-Reset: {int(IN_AN_HOUR.timestamp())}", "X-RateLimit-Remaining: 9"], None),
        (["X-RateLimit-Reset: soon", "X-RateLimit-Remaining: 0"], None),
    ],
)
def test_when_to_come_back(headers: list[str], expected: float | None) -> None:
    with serve(answer(http(b"", *headers, status="429 Slow"))) as server:
        found = refusal(ProviderRateLimited, lambda: client(server.url).request("POST", "/", json={})).retry_after
    assert found == (None if expected is None else pytest.approx(expected, abs=1 if expected < 100 else 1800))


def test_a_forbidden_that_says_when_to_come_back_is_about_the_rate() -> None:
    with serve(answer(http(b"", "Retry-After: 60", status="403 Slow"))) as server:
        refusal(ProviderRateLimited, lambda: client(server.url).get("/"))


@pytest.mark.parametrize(
    ("message", "error", "wait"),
    [
        ("You have exceeded a secondary rate limit. Please wait a few minutes.", ProviderRateLimited, 60),
        ("Resource not accessible by integration", ProviderForbidden, None),
    ],
)
def test_a_limit_that_is_in_no_header_is_read_from_the_message(
    message: str, error: type[ProviderError], wait: float | None
) -> None:
    body = json.dumps({"message": message}).encode()
    headers = ["X-RateLimit-Remaining: 4711", f"X-RateLimit-Reset: {int(time.time()) + 900}"]
    with serve(answer(http(body, *headers, status="403 No"))) as server:
        found = refusal(error, lambda: client(server.url).request("POST", "/", json={}))
    assert found.retry_after == wait


# Credentials


def test_credentials_are_found_by_name_and_shown_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    configured = {"a": {"token": SECRET}, "b": {"user": "ann", "password": SECRET}}
    assert find_credential("a", configured, provider="github").authorization() == f"Bearer {SECRET}"
    assert find_credential("b", configured, provider="github").authorization() == "Basic YW5uOnMzY3JldC10MGtlbg=="
    assert SECRET not in repr(find_credential("a", configured, provider="github"))
    for name in ("c", "", None, 7):
        with pytest.raises(ProviderMisconfigured, match="credentials"):
            find_credential(name, configured, provider="github")
    with caplog.at_level(logging.DEBUG), serve(answer(http(JSON))) as server:
        client(server.url).get("/")
    assert "GET /" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "configured",
    [
        {"token": f"{SECRET}\n"}, {"token": f"\r{SECRET}"}, {"token": f"{SECRET}é"}, {"token": f"{SECRET}\udc80"},
        {"token": f"{SECRET}\0"}, {"user": "a", "password": f"{SECRET}\n"},
        {"user": f"{SECRET}\udc80", "password": "x"},
    ],
    ids=repr,
)  # fmt: skip
def test_a_credential_that_no_header_can_have_is_said_without_it(configured: dict[str, str]) -> None:
    with pytest.raises(ProviderMisconfigured, match="the credentials 'a' of GRPC_SCM_CREDENTIALS") as caught:
        find_credential("a", {"a": configured}, provider="github")
    assert SECRET not in repr(caught.value)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


def test_threads_of_alarms_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(answer(http(JSON))) as server:
        before = threading.active_count()
        asking = client(server.url, timeout=60)
        for _ in range(5):
            asking.get("/")
        assert server.connections == 5
        assert len([t for t in threading.enumerate() if isinstance(t, threading.Timer)]) == 0
    assert threading.active_count() <= before
