"""``flask grpc …``, which Flask finds by an entry point: it is there before there is an app."""

from __future__ import annotations

import click

__all__ = ["grpc_cli"]


class _GrpcGroup(click.Group):
    """The commands, imported when one is asked for: Flask loads this group for every command of every app."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command with a name."""
        from flask_grpcweb_scm.cli.commands import commands

        return commands.get_command(ctx, cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names of the commands."""
        from flask_grpcweb_scm.cli.commands import commands

        return commands.list_commands(ctx)


@click.group("grpc", cls=_GrpcGroup)
def grpc_cli() -> None:
    """Begin a project with a gRPC-Web service, look at the services of an app, and call them."""
