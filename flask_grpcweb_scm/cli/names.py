"""Methods and services of the app by the names that users type, and the completion of these in a shell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import click
from flask import current_app
from flask.cli import ScriptInfo

from flask_grpcweb_scm.rpc import RpcMethod, Service, did_you_mean
from flask_grpcweb_scm.state import AppState

__all__ = ["app_state", "complete_method", "complete_pattern", "complete_service", "find_method", "find_service"]

MAX_CANDIDATES = 10
"""That a message names."""
STANDARD = "grpc."
"""The beginning of the names of gRPC's own services, health and reflection."""


def app_state() -> AppState:
    """Return the state of the app that the command is of.

    :raises click.ClickException: when it is an app without the extension.
    """
    state: AppState | None = current_app.extensions.get("grpcweb_scm")
    if state is None:
        raise click.ClickException(
            f"the app {current_app.name!r} has no RPCs: GrpcWebScm(app, services=[…]) in its factory adds some"
        )
    return state


def find_method(name: str) -> RpcMethod:
    """Return the method with a name: its path, or an end of that which no other has, as ``SayHello``.

    :raises click.BadParameter: when there is none, or several.
    """
    state = app_state()
    methods = state.dispatcher.methods
    wanted = ("/" + name.lstrip("/")).removeprefix(state.settings.url_prefix + "/").lstrip("/")
    if f"/{wanted}" in methods:
        return methods[f"/{wanted}"]
    if "/" not in wanted:  # as grpcurl has it: Greeter.SayHello
        wanted = "/".join(wanted.rsplit(".", 1))
    found = [path for path in methods if f".{path[1:]}".endswith((f".{wanted}", f"/{wanted}"))]
    if len(found) == 1:
        return methods[found[0]]
    if found:
        text = f"{name!r} is a method of {len(found)} services; name one: {_listed(path[1:] for path in found)}"
    else:
        known: Collection[str] = methods if "/" in wanted else {method.name for method in methods.values()}
        near = did_you_mean(f"/{wanted}" if "/" in wanted else wanted, known)
        text = f"no method {name!r} is served{near or '; see: flask grpc services'}"
    raise click.BadParameter(text, param_hint="METHOD")


def find_service(name: str | None) -> Service:
    """Return the service with a name, or with an end of it that no other has, as ``Greeter``.

    :param name: None for the only service of the app, those of gRPC itself aside.
    :raises click.BadParameter: when there is none, or several.
    """
    state = app_state()
    services = state.dispatcher.services
    if name in services:
        return services[name]
    if name is None:
        found = [full_name for full_name in services if not full_name.startswith(STANDARD)] or [*services]
    else:
        found = [full_name for full_name in services if full_name.endswith(f".{name}")]
    if len(found) == 1:
        return services[found[0]]
    if found:
        text = f"{len(found)} services are served; name one: {_listed(found)}"
    else:
        text = f"no service {name!r} is served{did_you_mean(name or '', services) or '; see: flask grpc services'}"
    raise click.BadParameter(text, param_hint="SERVICE")


def _listed(names: Iterable[str]) -> str:
    first, *others = sorted(names)
    shown = [first, *others[: MAX_CANDIDATES - 1]]
    return ", ".join(shown) + (" …" if len(others) >= MAX_CANDIDATES else "")


def complete_method(context: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the methods that begin so: by their own names where no other has that, and by their paths."""
    methods, _ = _served(context)
    counts = Counter(method.name for method in methods.values())
    names = [method.name for method in methods.values() if counts[method.name] == 1]
    return [name for name in (*names, *(path[1:] for path in methods)) if name.startswith(incomplete)]


def complete_pattern(context: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the paths of methods that begin so, and the patterns for all methods of a service."""
    methods, services = _served(context)
    names = [*(f"{name}/*" for name in services), *(path[1:] for path in methods)]
    return [name for name in names if name.startswith(incomplete)]


def complete_service(context: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the services that begin so."""
    return [name for name in _served(context)[1] if name.startswith(incomplete)]


def _served(context: click.Context) -> tuple[Mapping[str, RpcMethod], Mapping[str, Service]]:
    """Return the methods and services of the app; nothing where there is no app with the extension."""
    try:
        app = context.ensure_object(ScriptInfo).load_app()
    except Exception:  # of the app; a shell that completes has no place for it, and the command says it
        return {}, {}
    state: AppState | None = app.extensions.get("grpcweb_scm")
    return (state.dispatcher.methods, state.dispatcher.services) if state else ({}, {})
