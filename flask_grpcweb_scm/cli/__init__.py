"""``flask grpc …``, which Flask finds by an entry point: it is there before there is an app."""

from __future__ import annotations

import contextlib
import pkgutil
from collections.abc import Iterator, MutableMapping

import click
from flask.cli import NoAppException, ScriptInfo

from flask_grpcweb_scm.configuration import ConfigError

__all__ = ["LateGroup", "config_errors_in_commands", "grpc_cli"]


class LateGroup(click.Group):
    """Commands that are imported when one is asked for: Flask loads their group in every worker, and for each command.

    :param source: the group that has them, as an entry point names it: ``package.module:name``.
    """

    def __init__(self, name: str, source: str, text: str) -> None:
        self._source = source
        super().__init__(name, help=text)

    @property
    def commands(self) -> MutableMapping[str, click.Command]:
        """The commands by name, to which an app may add its own."""
        group: click.Group = pkgutil.resolve_name(self._source)
        return group.commands

    @commands.setter
    def commands(self, commands: object) -> None:
        """Click sets those that a group begins with: none."""


grpc_cli = LateGroup(
    "grpc",
    "flask_grpcweb_scm.cli.commands:commands",
    "Begin a project with a gRPC-Web service, look at the services of an app, and call them.",
)


class _CommandConfigError(ConfigError, NoAppException):
    """A ConfigError that ``flask …`` prints as a sentence, as one about an app that it does not find."""


@contextlib.contextmanager
def config_errors_in_commands() -> Iterator[None]:
    """Have ``flask …`` show no traceback of a ConfigError that is raised in the block, while it loads the app."""
    try:
        yield
    except ConfigError as error:
        context = click.get_current_context(silent=True)
        if context is None or context.find_object(ScriptInfo) is None:
            raise
        raise _CommandConfigError(str(error)) from error
