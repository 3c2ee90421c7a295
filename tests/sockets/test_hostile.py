"""Whatever bytes come in: the right status, no traceback, no call made by mistake, and the next call works."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from tests.echo_pb2 import EchoReply
from tests.grpcweb import Answer
from tests.protocols import read_connect
from tests.sockets.contract import check_answer
from tests.sockets.hostile_connect import CONNECT_PAYLOAD_ROWS, CONNECT_ROWS, IN_JSON, get, post
from tests.sockets.hostile_http import HTTP_ROWS
from tests.sockets.hostile_messages import MESSAGE_ROWS, PAYLOAD_ROWS
from tests.sockets.http1 import Closed, Connection, Response
from tests.sockets.rows import ANY, Outcome, Row, Sent, rpc
from tests.sockets.servers import FAST_LANE, Server, any_server, complaints
from tests.tables import check_rows

PAYLOADS = {"in frames": PAYLOAD_ROWS, "of Connect": CONNECT_PAYLOAD_ROWS}
REQUESTS = {"messages": MESSAGE_ROWS, "Connect": CONNECT_ROWS, "HTTP": HTTP_ROWS}


@any_server
@pytest.mark.parametrize("rows", PAYLOADS.values(), ids=PAYLOADS)
def test_payloads(server: Server, rows: list[Row]) -> None:
    check_rows(Table(server).check, rows)


@pytest.mark.parametrize("rows", REQUESTS.values(), ids=REQUESTS)
def test_requests(server: Server, rows: list[Row]) -> None:
    check_rows(Table(server).check, rows)


class Table:
    """Rows that are sent to a server, one after the other, with good calls between them."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lane = "fast_lane" if server.environ == FAST_LANE else server.name
        self._calls: int | None = None
        """The number of the last call; None when calls may have been made since."""

    def check(self, name: str, sent: Sent, outcome: Outcome, differences: Mapping[str, Outcome]) -> None:
        server = self._server
        outcome = differences.get(self._lane, differences.get(server.name, outcome))
        logged = len(server.log())
        calls = good_call_on_a_new_connection(server) if self._calls is None else self._calls
        self._calls = None
        with server.connect() as connection:
            connection.send(sent.data, step=sent.step)
            if sent.end:
                connection.end_sending()
            response = response_or_none(connection, sent)
            check(response, outcome, sent)
            # It drops no long body that nobody has read, and says so.
            says_so = server.name == "granian" and response is not None and response.closes
            if outcome.closes or says_so:
                assert connection.is_closed()
            elif not sent.end:
                good_call(connection)
                good_call_of_connect(connection)
                calls += 2
        if response is None:
            # A call may outlive its connection; it is this row's, not the next one's.
            time.sleep(0.05)
        now = good_call_on_a_new_connection(server)
        if not outcome.lost:
            assert now - calls - 1 == was_called(response, sent)
            self._calls = now
        assert complaints(server.log()[logged:]) == []


def test_requests_may_follow_each_other_at_once(server: Server) -> None:
    sent = [post(), Sent(rpc()), get(f"{IN_JSON}%7B%7D"), post(b"{"), Sent(rpc(b"")), get("x"), Sent(rpc()), post()]
    with server.connect() as connection:
        connection.send(b"".join(each.data for each in sent))
        codes = [answer_of(connection.response(), each).code for each in sent]
    assert codes == [0, 0, 0, 3, 12, 3, 0, 0]


def response_or_none(connection: Connection, sent: Sent) -> Response | None:
    try:
        return connection.response(to=sent.verb)
    except Closed:
        return None


def check(response: Response | None, outcome: Outcome, sent: Sent) -> None:
    if outcome is ANY or (outcome.lost and response is None):
        return
    assert response is not None
    assert response.status == outcome.http
    if outcome.code is None:
        return
    answer = answer_of(response, sent)
    text = answer.message if outcome.code else "".join(reply.text for reply in answer.messages(EchoReply))
    assert (answer.code, outcome.text in text) == (outcome.code, True), (answer.code, text[:300])


def answer_of(response: Response, sent: Sent) -> Answer:
    """Take a response to a call apart, sure that it keeps the protocol."""
    if not sent.connect:
        return check_answer(response.status, response.headers, response.body)
    assert sum(len(name) + len(value) for name, value in response.headers) < 8192
    assert not any(name.lower().startswith("grpc-") for name, _ in response.headers)
    return read_connect(response.status, response.headers, response.body, sent.connect)


def was_called(response: Response | None, sent: Sent) -> bool:
    """Whether the answer is one of a service function."""
    if response is None:
        return False
    if sent.verb == "HEAD":
        return sent.connect != "" and response.status == 200
    kind = response.header("content-type")
    if not kind.startswith("application/") or (kind.startswith("application/grpc-web") is bool(sent.connect)):
        return False
    answer = answer_of(response, sent)
    return answer.code == 0 or answer.message.startswith("fail")


def good_call(connection: Connection) -> int:
    """:returns: the number of the call."""
    connection.send(rpc())
    response = connection.response()
    reply = check_answer(response.status, response.headers, response.body).only(EchoReply)
    assert reply.text == "HELLO"
    return int(reply.number)


def good_call_of_connect(connection: Connection) -> None:
    sent = post()
    connection.send(sent.data)
    assert answer_of(connection.response(), sent).only(EchoReply).text == "HELLO"


def good_call_on_a_new_connection(server: Server) -> int:
    with server.connect() as connection:
        return good_call(connection)
