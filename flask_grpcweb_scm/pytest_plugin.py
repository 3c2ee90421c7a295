"""Fixtures for tests of apps: a pytest plugin.

Fixtures import what they need when they run: pytest loads this module for every run wherever the package is
installed, and before coverage is measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from flask import Flask

    from flask_grpcweb_scm.client import Channel
    from flask_grpcweb_scm.testing import RecordingInterceptor, ScmFactory

__all__ = ["grpc_channel", "grpc_recorder", "scm_factory"]


@pytest.fixture
def grpc_channel(app: Flask) -> Iterator[Channel]:
    """A channel to the services of the fixture `app`, through all of its hooks."""
    from flask_grpcweb_scm.testing import channel_for

    with channel_for(app) as channel:
        yield channel


@pytest.fixture
def grpc_recorder(app: Flask) -> Iterator[RecordingInterceptor]:
    """Recorder of the calls to the fixture `app` during the test."""
    from flask_grpcweb_scm.testing import recording

    with recording(app) as recorder:
        yield recorder


@pytest.fixture
def scm_factory(app: Flask) -> ScmFactory:
    """Factory of organizations, repositories, commits and the like in the database of the fixture `app`."""
    from flask_grpcweb_scm.testing import ScmFactory

    return ScmFactory(app)
