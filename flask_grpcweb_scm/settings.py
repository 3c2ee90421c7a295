"""The ``GRPC_*`` configuration keys: the only list of them, with defaults, meanings and readers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from flask_grpcweb_scm.config_values import (
    read_boolean,
    read_boolean_or_only,
    read_boolean_or_watch,
    read_console_path,
    read_count,
    read_credentials,
    read_host,
    read_hosts,
    read_method_names,
    read_optional_boolean,
    read_optional_bytes,
    read_optional_count,
    read_optional_file,
    read_optional_path,
    read_optional_seconds,
    read_origins,
    read_protocols,
    read_proxy,
    read_rates,
    read_revoked_tokens,
    read_seconds,
    read_subdomain,
    read_text,
    read_texts,
    read_tokens,
    read_url_prefix,
    read_webhooks,
)
from flask_grpcweb_scm.rpc import Identity
from flask_grpcweb_scm.rpc.protocols import PROTOCOLS

__all__ = ["PREFIX", "Settings", "fields_by_key", "names_of_method"]

DEFAULT_TIMEOUT = 60.0
PREFIX = "GRPC_"


def _key(default: object, check: Callable[[Any], object], meaning: str, *, secret: bool = False) -> Any:
    metadata = {"check": check, "meaning": meaning}
    if callable(default):
        return dataclasses.field(default_factory=default, repr=not secret, metadata=metadata)
    return dataclasses.field(default=default, repr=not secret, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Values of the ``GRPC_*`` keys; the field ``max_message_bytes`` is the key ``GRPC_MAX_MESSAGE_BYTES``.

    ``repr()`` shows no secrets.
    """

    scm: bool = _key(True, read_boolean, "Serve `sentry.integrations.scm.v1.ScmService`.")
    protocols: tuple[str, ...] = _key(
        PROTOCOLS, read_protocols, "Protocols that the RPCs are served in: some of `grpc-web`, `connect`, `grpc`."
    )
    url_prefix: str = _key("", read_url_prefix, "Path before `/{package.Service}/{Method}`, such as `/rpc`.")
    host: str = _key(
        "", read_host, "Host that serves the RPCs, with its port, in an app with `Flask(host_matching=True)`."
    )
    subdomain: str = _key(
        "", read_subdomain, "Subdomain that serves the RPCs, in an app with `Flask(subdomain_matching=True)`."
    )

    require_auth: bool = _key(
        False,
        read_boolean,
        "Refuse calls without credentials. True by itself once tokens, secrets or an authenticator are configured;"
        " `False` in the configuration says that the app is open on purpose.",
    )
    auth_tokens: Mapping[str, Identity] = _key(
        dict, read_tokens, "Accepted tokens: a list, a text with commas, or a mapping of token to scope.", secret=True
    )
    token_secrets: tuple[str, ...] = _key(
        (), read_texts, "Secrets of the tokens that `flask grpc token issue` makes, newest first.", secret=True
    )
    revoked_tokens: tuple[str, ...] = _key(
        (), read_revoked_tokens, "Such tokens that are no longer valid: the tokens themselves, or their ids."
    )
    hmac_secrets: tuple[str, ...] = _key(
        (), read_texts, "Secrets of signed requests, any of which may match: a list or a text with commas.", secret=True
    )
    hmac_max_age: float = _key(300, read_seconds, "Seconds that `X-Timestamp` of a signed request may be off.")
    hmac_require_timestamp: bool = _key(False, read_boolean, "Refuse signed requests without `X-Timestamp`.")
    max_auth_failures: int | None = _key(
        20,
        read_optional_count,
        "Wrong credentials in a minute from one address (of IPv6: from one /64), of which the last are refused with a"
        " delay; more end with 8. Right ones always pass. None: any number.",
    )
    public_methods: tuple[str, ...] = _key(
        (), read_method_names, "Methods open to callers without credentials: `pkg.Service/Method` or `pkg.Service/*`."
    )

    cors_origins: tuple[str, ...] = _key(
        (), read_origins, "Origins whose pages may call, such as `https://app.example`; needs the extra `cors`."
    )
    cors_credentials: bool = _key(False, read_boolean, "Let those pages send cookies.")
    cors_max_age: float = _key(7200, read_seconds, "Seconds that a browser may cache the response to a preflight.")

    rate_limits: Mapping[str, str] = _key(
        dict,
        read_rates,
        "Calls per caller and method, such as `100/minute`, or a mapping of `pkg.Service/Method`, `pkg.Service/*` and"
        " `*` to such; needs the extra `ratelimit`.",
    )
    rate_limit_storage: str = _key(
        "memory://",
        read_text,
        "Where calls are counted, as a URI of `limits`, such as `redis://…` with `pip install redis`; memory is per"
        " process. A Redis also has the streams of callers, and revoked tokens.",
        secret=True,  # such a URI may have a password
    )
    max_streams: int | None = _key(
        4,
        read_optional_count,
        "Streams that a caller may have open at a time, per process, or in all that share a Redis as"
        " `GRPC_RATE_LIMIT_STORAGE`. None: any number.",
    )
    max_streams_total: int | None = _key(
        8,
        read_optional_count,
        "Streams that all callers together may have open at a time, per process: two less than it has threads, for"
        " other calls. None: any number.",
    )

    max_calls: int | None = _key(
        None,
        read_optional_count,
        "Calls that callers with the same `organizations` may have under way at a time, per process, streams aside: so"
        " that one tenant leaves threads to others. None: any number.",
    )

    max_message_bytes: int = _key(4 * 2**20, read_count, "Longest request message in bytes, also after decompression.")
    max_items: int | None = _key(
        250_000,
        read_optional_count,
        "Most fields, items of lists and entries of maps in one request message, in JSON keys and values: counted"
        " before anything is made of them. None: any number.",
    )
    max_response_bytes: int | None = _key(
        64 * 2**20, read_optional_count, "Longest response message in bytes. None: any length."
    )
    max_metadata_bytes: int = _key(
        16 * 2**10, read_count, "Longest request metadata in bytes, names and values together."
    )
    max_json_depth: int = _key(
        100, read_count, "Deepest nesting of messages in a JSON request; protobuf itself allows 100."
    )
    default_timeout: float | None = _key(
        DEFAULT_TIMEOUT,
        read_optional_seconds,
        "Seconds for calls without a deadline. The default is for unary calls only; a value that is set is for streams"
        " too.",
    )
    max_timeout: float | None = _key(
        None, read_optional_seconds, "Seconds that no call may exceed, whatever its timeout."
    )
    idle_timeout: float | None = _key(
        60,
        read_optional_seconds,
        "Seconds to wait for a client that neither reads nor sends, in calls without a deadline, where the server gives"
        " its socket (gunicorn).",
    )
    compression_min_bytes: int | None = _key(
        1024,
        read_optional_bytes,
        "Compress responses from this size in bytes, when the caller accepts it; None: never.",
    )
    status_header: bool | str = _key(
        True,
        read_boolean_or_only,
        "Repeat `grpc-status: 0` in the HTTP headers of unary responses to clients without `X-Grpc-Web`. `only`: leave"
        " the trailers frame out for those that send no header of gRPC-Web but the content type.",
    )

    fast_lane: bool = _key(
        True, read_boolean, "Serve calls without Flask's request machinery while no hook of the app needs it."
    )

    metrics_path: str | None = _key(
        None,
        read_optional_path,
        "Path of a page with metrics for Prometheus, such as `/metrics`; needs the extra `prometheus`.",
    )
    otel: bool = _key(
        False, read_boolean, "Record a span and the duration of each call by OpenTelemetry; needs the extra `otel`."
    )

    health: bool | str = _key(
        False,
        read_boolean_or_watch,
        "Serve `grpc.health.v1.Health`, to callers without credentials too. `watch`: with `Watch`, where each watcher"
        " holds a thread.",
    )
    health_path: str | None = _key(
        None,
        read_optional_path,
        "Path of a page that says with 200 or 503 if the server is ready, such as `/healthz`; below it `/ready` is the"
        " same and `/live` is always 200.",
    )
    drain_file: str | None = _key(
        None, read_optional_file, "File whose existence makes all of health say that the server is not ready."
    )
    reflection: bool | None = _key(
        None,
        read_optional_boolean,
        "Serve `grpc.reflection.v1` and `v1alpha`, to those who may call. Default: in debug mode.",
    )
    descriptors_path: str | None = _key(
        None,
        read_optional_path,
        "Path of a page with the FileDescriptorSet of all services, such as `/services.binpb`, for those who may call.",
    )
    descriptor_sets: tuple[str, ...] = _key(
        (),
        read_texts,
        "Files of `protoc --include_source_info --descriptor_set_out`, whose comments reflection shows; those"
        " beside the generated modules (`greeter.binpb`) need not be listed.",
    )

    console: str | None = _key(
        None,
        read_console_path,
        "Path of a page that shows all services and calls them, such as `/console`; True: `/_grpc`. Default: in debug"
        " mode.",
    )

    page_size: int = _key(50, read_count, "Rows of a page when the request names no size.")
    max_page_size: int = _key(1000, read_count, "Most rows of a page.")
    page_token_secrets: tuple[str, ...] = _key(
        (), read_texts, "Secrets that sign page tokens, newest first. Default: `SECRET_KEY`, else random.", secret=True
    )
    page_token_max_age: float = _key(86400, read_seconds, "Seconds that a page token is valid.")
    git_timeout: float = _key(30, read_seconds, "Seconds that one run of git may take, deadline or not.")
    git_memory_bytes: int | None = _key(
        2**30,
        read_optional_count,
        "Memory in bytes, as address space, that one run of git may use (Linux); an index of objects counts too. None:"
        " any.",
    )
    tracker_timeout: float = _key(30, read_seconds, "Seconds that trackers may take for one call, deadline or not.")
    scm_credentials: Mapping[str, Mapping[str, str]] = _key(
        dict,
        read_credentials,
        "Credentials for providers, which integrations name: a mapping of name to token, to `user` and `password`, or"
        " to `app_id` and `private_key` of a GitHub App. A secret may be in a file or in a variable, as `token_file` or"
        " `token_env` name it.",
        secret=True,
    )
    scm_webhooks: Mapping[str, Sequence[Mapping[str, str]]] = _key(
        dict,
        read_webhooks,
        "Webhooks of providers, at `/scm/webhooks/NAME` below `GRPC_URL_PREFIX`: a mapping of the name or the id of an"
        " integration, or the name of the credentials of a GitHub App, to its secret, or to a list of secrets, any of"
        " which may match. A secret may be in a file or in a variable, as `secret_file` or `secret_env` name it.",
        secret=True,
    )
    scm_allowed_hosts: frozenset[str] = _key(
        frozenset, read_hosts, "Hosts of providers that may have private addresses, and plain `http`."
    )
    scm_proxy: str = _key(
        "",
        read_proxy,
        "Proxy for requests to providers, such as `http://user:password@proxy.example:3128`; it is told addresses that"
        " were checked, not names.",
        secret=True,
    )
    scm_no_proxy: frozenset[str] = _key(frozenset, read_hosts, "Hosts that are called without the proxy.")
    scm_mirrors: str | None = _key(
        None,
        read_optional_file,
        "Folder of the mirrors that the service fetches itself, the same for the server and its workers on a machine."
        " None: it has none.",
    )
    scm_mirror_bytes: int | None = _key(
        10 * 2**30, read_optional_count, "Bytes that one of these mirrors may have. None: any number."
    )
    scm_fetch_timeout: float = _key(3600, read_seconds, "Seconds that one fetch of a mirror may take.")
    scm_sync_interval: float = _key(
        3600, read_seconds, "Seconds from one sync of a repository or an organization to the next."
    )
    scm_issue_interval: float = _key(
        600, read_seconds, "Seconds until a worker reads the state of an issue at its tracker again."
    )
    scm_job_lease: float = _key(
        60, read_seconds, "Seconds after which a job is due again whose worker has died. Workers renew it."
    )
    blame_cache_bytes: int = _key(
        16 * 2**20, read_count, "Memory in bytes, per process, for the commits that last changed a line."
    )
    tree_cache_bytes: int = _key(
        256 * 2**20,
        read_count,
        "Memory in bytes, per process, for the names of source files that code mappings are derived from: about 40 MiB"
        " for 400 000 files.",
    )

    ignored_keys: tuple[str, ...] = _key(
        (), read_texts, "Keys of other packages that look as if they were of this one; nothing is said about them."
    )

    @property
    def stream_timeout(self) -> float | None:
        """Seconds for streams without a deadline."""
        return None if self.default_timeout is DEFAULT_TIMEOUT else self.default_timeout

    def are_public(self, method_paths: Iterable[str]) -> bool:
        """Return whether all of these methods are open to callers without credentials."""
        return all(names_of_method(path) & {*self.public_methods} for path in method_paths)


def fields_by_key() -> dict[str, dataclasses.Field[Any]]:
    """Return the fields of :class:`Settings` by their keys."""
    return {PREFIX + field.name.upper(): field for field in dataclasses.fields(Settings)}


def names_of_method(method_path: str) -> set[str]:
    """Return the names of a method in configuration keys: its own, and that of all methods of its service."""
    return {method_path[1:], method_path[1:].partition("/")[0] + "/*"}
