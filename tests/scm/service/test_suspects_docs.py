"""docs/suspect-commits.md: its example is what happens, its code runs."""

from __future__ import annotations

import re

import pytest
from flask import Flask

from flask_grpcweb_scm.client import ScmGrpcClient
from flask_grpcweb_scm.testing import channel_for
from tests.documents import PAGES, blocks
from tests.scm.service.test_suspects import TRACE, Shop, add, served, shop
from tests.scm.support import Tenant

__all__ = ["served", "shop"]  # fixtures

PAGE = PAGES["suspect-commits"]


def test_the_example(app: Flask, ours: Tenant, shop: Shop) -> None:
    add(app, ours, "acme/shop", shop.git)
    trace, said = blocks(PAGE, "text")
    assert trace.strip() == TRACE.strip()
    arguments = ["scm", "derive", "ours", "web", "--suspects", "--traceback", "-", "--first-seen", "2020-09-14"]
    result = app.test_cli_runner().invoke(args=arguments, input=trace)
    assert result.output.strip() == said.strip()


def test_the_code(app: Flask, served: int, shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    client = ScmGrpcClient.from_channel(channel_for(app))
    for code in blocks(PAGE, "python"):
        exec(code, {"client": client, "trace": TRACE, "sha": shop.tip[:9]})
    lines = capsys.readouterr().out.splitlines()
    assert re.match(rf"{shop.culprit} faster totals it last changed line 2 ", lines[0])
    assert lines[-1] == " Python's own library"
    assert len(lines) == 2 + 4
