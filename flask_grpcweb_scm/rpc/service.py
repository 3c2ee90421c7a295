"""Binding functions to the methods of a proto service."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType, MethodType, SimpleNamespace
from typing import Any, NamedTuple, TypeVar, get_args, get_type_hints

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from flask_grpcweb_scm.rpc.context import CallContext
from flask_grpcweb_scm.rpc.errors import ResponseTypeError, RpcError, ServiceDefinitionError, did_you_mean
from flask_grpcweb_scm.rpc.functions import Interceptor, ServiceFunction
from flask_grpcweb_scm.wire import StatusCode

__all__ = ["EnsureSync", "Interceptors", "RpcMethod", "Service", "is_async", "is_coroutine_function"]

# Makes of a coroutine function one that returns its result.
EnsureSync = Callable[[Callable[..., Any]], Callable[..., Any]]

E = TypeVar("E", bound=Exception)
F = TypeVar("F", bound=ServiceFunction)
I = TypeVar("I", bound=Interceptor)  # noqa: E741  # reads as "interceptor"

_HANDED_ON = frozenset({inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD})


class Interceptors:
    """Interceptors, outermost first. They are composed at the first call, and none can be added from then on.

    :param owner: for the error message.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._interceptors: list[Interceptor] = []
        self._is_closed = False

    def add(self, interceptor: Interceptor) -> None:
        """Add one, inside of the others.

        :raises AssertionError: after the first call, as Flask's setup methods do.
        :raises ServiceDefinitionError: for an async function.
        """
        if is_async(interceptor):
            raise ServiceDefinitionError(
                f"{self._owner}: the interceptor {interceptor!r} is async; make it a plain function, which may be"
                " around async functions too"
            )
        if self._is_closed:
            raise AssertionError(
                f"intercept() can no longer be called: {self._owner} has already served its first call, and some calls"
                " would go without the interceptor; add it when the app is set up"
            )
        self._interceptors.append(interceptor)

    def close(self) -> tuple[Interceptor, ...]:
        """All interceptors, to which none can be added any more."""
        self._is_closed = True
        return tuple(self._interceptors)


@dataclass(frozen=True, slots=True, eq=False)
class RpcMethod:
    """A method of a service, reflected from its descriptor, with the function that serves it."""

    service: Service
    name: str
    request_class: type[Message]
    response_class: type[Message]
    client_streaming: bool
    server_streaming: bool
    function: ServiceFunction
    batch: bool = False
    """True when the messages of a stream may wait a moment for the next ones."""
    is_async: bool = False
    """True when the function is async, or one that a decorator calls."""
    no_side_effects: bool = False
    """True when the ``idempotency_level`` says so."""

    @property
    def path(self) -> str:
        """``/package.Service/Method``."""
        return f"/{self.service.name}/{self.name}"

    def wrong_type(self, response: object, interceptor: Interceptor | None = None) -> ResponseTypeError:
        """The error for a response that is not of the class that the method returns.

        :param interceptor: that has returned it, in place of the function.
        """
        if inspect.iscoroutine(response):
            # Else Python warns that nothing has awaited it.
            response.close()
        name = getattr(interceptor, "__qualname__", repr(interceptor))
        culprit = "its function" if interceptor is None else f"its interceptor {name}"
        return ResponseTypeError(self.path, self.response_class.DESCRIPTOR.full_name, response, culprit)


class Example(NamedTuple):
    """A call of a method, to try."""

    title: str
    requests: tuple[Message, ...]


class Service:
    """A proto service and the functions that serve it.

    :param descriptor: of the compiled proto: ``greeter_pb2.DESCRIPTOR.services_by_name["Greeter"]``.

    A service function takes ``(request, context)`` and returns the response. For a server-streaming method it is a
    generator function that yields responses; for a client-streaming one its first argument is an iterator of requests.
    It may be async: it awaits, yields from an async generator, and reads requests with ``async for``.
    """

    def __init__(self, descriptor: ServiceDescriptor) -> None:
        self.descriptor = descriptor
        self.name: str = descriptor.full_name
        self.interceptors: Interceptors = Interceptors(self.name)
        self.is_probe = False
        """True when load balancers call it: without credentials, and outside of limits, interceptors and observers."""
        self.examples: dict[str, list[Example]] = {}
        """By the name of the method."""
        self._errors: dict[type[Exception], Callable[[Any], RpcError]] = {}
        self._functions: dict[str, ServiceFunction] = {}
        self._batched: set[str] = set()

    def rpc(self, name: str, *, batch: bool = False) -> Callable[[F], F]:
        """Decorate the function that serves the method `name`; it is returned unchanged.

        :param batch: see :meth:`add_rpc`.
        :raises ServiceDefinitionError: see :meth:`add_rpc`.
        """
        self._find(name)

        def decorate(function: F) -> F:
            self.add_rpc(name, function, batch=batch)
            return function

        return decorate

    def add_rpc(self, name: str, function: ServiceFunction, *, batch: bool = False) -> None:
        """Bind a function to the method `name`.

        :param batch: of a server-streaming method: messages are sent together, up to 16 kB or 5 milliseconds of them,
            which is many times faster for many small ones. A message may then have to wait for the next. The function
            may also return a sequence, or any other iterable, instead of being a generator function.
        :raises ServiceDefinitionError: when the service has no such method, the method is bound already, the function's
            kind is not the method's, or its annotations have the messages of another one.
        """
        method = self._find(name)
        if name in self._functions:
            raise ServiceDefinitionError(f"{self.name}/{name} is bound twice; remove one of the functions")
        _check_function(f"{self.name}/{name}", function, server_streaming=method.server_streaming, batch=batch)
        _check_annotations(method, function)
        self._functions[name] = function
        if batch:
            self._batched.add(name)

    # Any: generated classes, which have their own, take nothing but the names of their methods.
    def unimplemented(self, *names: Any) -> None:
        """Declare methods that end with UNIMPLEMENTED: a method that is merely forgotten fails at start.

        :raises ServiceDefinitionError: as :meth:`add_rpc`.
        """
        for name in names:
            streams = self._find(name).server_streaming
            self.add_rpc(name, _unimplemented_stream if streams else _unimplemented)

    def example(self, name: str, *requests: Message, title: str = "") -> None:
        """Add an example of a call of the method `name`, for those who see it in the console.

        :param requests: one, or as many as a client-streaming method takes.
        :param title: says what the example shows, in a few words.
        :raises ServiceDefinitionError: when the service has no such method, or it takes another message.
        """
        method = self._find(name)
        if len(requests) != 1 and not method.client_streaming:
            raise ServiceDefinitionError(f"{self.name}/{name} takes one request, and its example has {len(requests)}")
        for request in requests:
            if request.DESCRIPTOR is not method.input_type:
                raise ServiceDefinitionError(
                    f"{self.name}/{name} takes {method.input_type.full_name}, and its example is"
                    f" {request.DESCRIPTOR.full_name}"
                )
        examples = self.examples.setdefault(name, [])
        examples.append(Example(title or f"Example {len(examples) + 1}", requests))

    def declare_error(
        self,
        error_class: type[E],
        code: StatusCode | int,
        *,
        details: Callable[[E], Iterable[Message]] = lambda error: (),
    ) -> None:
        """Answer `code`, with the exception's text, when a service function raises `error_class` or a subclass.

        The nearest declared base class decides. Of other exceptions the text is not sent.

        :param details: makes the details of the status from the exception.
        :raises ServiceDefinitionError: when the class is declared already.
        """
        if error_class in self._errors:
            raise ServiceDefinitionError(f"{self.name}: the code of {error_class.__name__} is declared twice")
        status = StatusCode(code)
        self._errors[error_class] = lambda error: RpcError(status, str(error), details(error))

    def declared_error(self, error: Exception) -> RpcError | None:
        """Turn a declared exception into the status it was declared as; None for any other."""
        for error_class in type(error).__mro__:
            if error_class in self._errors:
                return self._errors[error_class](error)
        return None

    def intercept(self, interceptor: I) -> I:
        """Decorate ``(request, context, call_next)``, run around every call of this service, inside the app's own.

        The first one added is the outermost.

        :raises AssertionError: when the service has already served its first call.
        """
        self.interceptors.add(interceptor)
        return interceptor

    def methods(self) -> Mapping[str, RpcMethod]:
        """All methods by path.

        :raises ServiceDefinitionError: when one is neither bound nor declared unimplemented.
        """
        missing = [m.name for m in self.descriptor.methods if m.name not in self._functions]
        if missing:
            raise ServiceDefinitionError(
                f"{self.name}: no function serves {', '.join(missing)}; bind it with @service.rpc({missing[0]!r}),"
                f" or declare service.unimplemented({', '.join(map(repr, missing))})"
            )
        return {method.path: method for method in map(self._reflect, self.descriptor.methods)}

    def _reflect(self, method: MethodDescriptor) -> RpcMethod:
        function = self._functions[method.name]
        return RpcMethod(
            service=self,
            name=method.name,
            request_class=GetMessageClass(method.input_type),
            response_class=GetMessageClass(method.output_type),
            client_streaming=method.client_streaming,
            server_streaming=method.server_streaming,
            function=function,
            batch=method.name in self._batched,
            is_async=is_async(function) or is_async(_innermost(function)),
            no_side_effects=method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS,
        )

    def _find(self, name: str) -> MethodDescriptor:
        known = self.descriptor.methods_by_name
        if name not in known:
            hint = did_you_mean(name, known) or f"; it has {', '.join(known)}"
            raise ServiceDefinitionError(f"{self.name} has no method {name!r}{hint}")
        return known[name]

    def __repr__(self) -> str:
        return f"<Service {self.name}>"


def is_async(function: Any) -> bool:
    """Return whether calling a function makes a coroutine or an async generator."""
    function = _run_by(function)
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def is_coroutine_function(function: Any) -> bool:
    """Return whether calling a function, or an object, makes a coroutine."""
    return inspect.iscoroutinefunction(_run_by(function))


def _run_by(function: Any) -> Any:
    """The function that is run when *function* is called: a method of an object that is none itself."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if inspect.isroutine(function) or not callable(function) else type(function).__call__


def _innermost(function: Any) -> Any:
    """The function inside of decorators."""
    while isinstance(function, functools.partial) or hasattr(function, "__wrapped__"):
        function = function.func if isinstance(function, functools.partial) else inspect.unwrap(function)
    return _run_by(function)


def _check_function(where: str, function: ServiceFunction, *, server_streaming: bool, batch: bool) -> None:
    inner, outer = _innermost(function), _run_by(function)
    # Inside of a decorator an async function may be run to its end.
    yields_at_once = inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(outer)
    yields = yields_at_once or inspect.isgeneratorfunction(outer) or inspect.isasyncgenfunction(inner)
    if batch and not server_streaming:
        raise ServiceDefinitionError(f"{where} has one response: there is nothing to batch")
    if server_streaming and not batch and not yields:
        raise ServiceDefinitionError(
            f"{where} streams responses: its function must yield them, {function!r} does not; with batch=True it may"
            " return them all at once"
        )
    if not server_streaming and yields_at_once:
        raise ServiceDefinitionError(f"{where} has one response: its function must return it, {function!r} yields")
    try:
        inspect.signature(_called(function), follow_wrapped=False).bind(None, None)
    except TypeError as error:
        raise ServiceDefinitionError(f"{where}: {function!r} must take (request, context): {error}") from None


def _called(function: Any) -> Any:
    """The function whose parameters a call has to fit: that of a decorator, unless it hands on whatever it gets."""
    while hasattr(function, "__wrapped__"):
        try:
            parameters = inspect.signature(function, follow_wrapped=False).parameters
        except ValueError:  # functools.cache is not written in Python
            parameters = MappingProxyType({})
        if any(parameter.kind not in _HANDED_ON for parameter in parameters.values()):
            break
        inner = function.__wrapped__
        function = MethodType(inner, function.__self__) if inspect.ismethod(function) else inner
    return function


def _check_annotations(method: MethodDescriptor, function: ServiceFunction) -> None:
    """Compare the messages in the annotations of a function, where there are any, with those of its method."""
    called = _called(function)
    if hasattr(called, "__wrapped__"):
        # A decorator with copies of another function's annotations, which may make other messages of them.
        return
    signature = inspect.signature(called)
    request = next(iter(signature.parameters.values()))
    returned = signature.return_annotation if called is function else Any
    for role, annotation, expected in (
        ("request", request.annotation, method.input_type),
        ("response", returned, method.output_type),
    ):
        names = [*_message_names(_resolved(annotation, called))]
        if names and expected.full_name not in names:
            raise ServiceDefinitionError(
                f"{method.containing_service.full_name}/{method.name} takes {method.input_type.full_name} and returns"
                f" {method.output_type.full_name}, but the annotation of the {role} of {function!r} is"
                f" {' and '.join(names)}"
            )


def _resolved(annotation: Any, function: ServiceFunction) -> Any:
    """The annotation itself, which may be its source; None when the names in that are not of the module."""
    names = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        return get_type_hints(SimpleNamespace(__annotations__={"its": annotation}), names)["its"]
    except Exception:
        return None


def _message_names(annotation: Any) -> Iterator[str]:
    """Yield the full names of the messages in a type such as ``Iterator[Message | None]``."""
    arguments = get_args(annotation)
    for argument in arguments:
        yield from _message_names(argument)
    # In Python 3.10, list[int] is a type that issubclass() does not take.
    if not arguments and isinstance(annotation, type) and issubclass(annotation, Message) and annotation.DESCRIPTOR:
        yield annotation.DESCRIPTOR.full_name


def _unimplemented(request: Any, context: CallContext) -> Message:
    path = context.method.path if context.method else "the method"
    raise RpcError(StatusCode.UNIMPLEMENTED, f"{path} is not implemented by this server")


def _unimplemented_stream(request: Any, context: CallContext) -> Iterator[Message]:
    yield _unimplemented(request, context)
