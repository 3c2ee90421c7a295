"""Async service functions, called by threads that run no event loop.

A coroutine function is run by the app's ``ensure_sync``, which makes a loop for it. An async generator needs one loop,
and one task in it, from its first message to its end: scopes such as ``asyncio.timeout()`` may be open across messages.
So the thread of the call runs the loop of its stream, from one message to the next; between these nothing runs in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import sys
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from google.protobuf.message import Message

from flask_grpcweb_scm.rpc.context import CallContext
from flask_grpcweb_scm.rpc.errors import ServiceDefinitionError
from flask_grpcweb_scm.rpc.functions import ServiceFunction
from flask_grpcweb_scm.rpc.service import EnsureSync, RpcMethod, is_coroutine_function

__all__ = ["in_sync"]

T = TypeVar("T")

GREENLETS = "gevent's greenlets share one thread, and in that another event loop runs; take workers with threads"


def in_sync(method: RpcMethod, ensure_sync: EnsureSync | None) -> ServiceFunction:
    """Make a function that is not async of the function of a method that is.

    :param ensure_sync: of the app; None for :func:`asyncio.run`.
    :raises ServiceDefinitionError: without asgiref, when it is needed.
    """
    ensure_sync = ensure_sync or _by_asyncio
    serve = method.function
    if method.client_streaming:
        serve = functools.partial(_with_async_requests, serve)
    if is_coroutine_function(method.function):
        try:
            ensure_sync(_awaited)
        except (ImportError, RuntimeError) as error:
            raise ServiceDefinitionError(
                f"{method.path}: {method.function!r} is async, which needs asgiref: pip install"
                f" 'flask_grpcweb_scm[async]' ({error})"
            ) from None
        serve = functools.partial(_run_awaited, ensure_sync, serve)
    # A decorator may have made something else of it.
    return functools.partial(_streamed, serve) if method.server_streaming else serve


def _by_asyncio(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *values: asyncio.run(function(*values))


def _run_awaited(ensure_sync: EnsureSync, function: ServiceFunction, request: Any, context: CallContext) -> Any:
    def run() -> tuple[Any, Exception | None]:
        try:
            # Not once for all calls: asgiref looks here for a loop that waits for this thread.
            return ensure_sync(_awaited)(function, request, context)  # type: ignore[no-any-return]
        except RuntimeError as error:
            if _is_loop_running():
                raise RuntimeError(GREENLETS) from error
            raise

    response, error = _outside_of_loops(run)
    try:
        if error is not None:
            raise error
    finally:
        # Its traceback refers to this frame.
        del error
    return response


def _outside_of_loops(function: Callable[[], T]) -> T:
    """Call a function here; in another thread, for which this one waits, if this one runs an event loop."""
    if not _is_loop_running():
        return function()
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(contextvars.copy_context().run, function).result()


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _with_async_requests(function: ServiceFunction, requests: Iterator[Message], context: CallContext) -> Any:
    return function(_Requests(requests), context)


def _streamed(function: ServiceFunction, request: Any, context: CallContext) -> Any:
    responses = function(request, context)
    return _Responses(responses, context) if isinstance(responses, AsyncIterable) else responses


async def _awaited(function: ServiceFunction, request: Any, context: CallContext) -> tuple[Any, Exception | None]:
    # The exception is returned: one that asgiref raises keeps its thread until garbage is collected.
    deadline = _Deadline(context)
    try:
        return await function(request, context), None
    except asyncio.CancelledError as error:
        return None, _reason(error, context)
    except Exception as error:
        return None, error
    finally:
        deadline.forget()


def _reason(error: asyncio.CancelledError, context: CallContext) -> Exception:
    """The exception for a cancellation, which is none itself: the deadline, or a mistake that belongs in the log."""
    try:
        context.check_deadline()
        raise RuntimeError("the service function was cancelled, but not by its call") from error
    except Exception as reason:
        return reason


class _Deadline:
    """Cancels the current task at the deadline of a call, which may be moved to a later one."""

    def __init__(self, context: CallContext) -> None:
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[Any] | None = asyncio.current_task()
        self._wait()

    def _wait(self) -> None:
        remaining = self._context.remaining()
        self._timer = None if remaining is None else self._loop.call_later(remaining, self._check)

    def _check(self) -> None:
        if self._context.remaining() != 0:
            self._wait()
        elif self._task is not None:
            self._task.cancel()

    def forget(self) -> None:
        """Cancel nothing from now on."""
        if self._timer is not None:
            self._timer.cancel()
        self._task = None


class _Requests:
    """The requests of a call, also for ``async for``."""

    def __init__(self, requests: Iterable[Message]) -> None:
        self._requests = iter(requests)

    def __iter__(self) -> Iterator[Message]:
        return self

    def __next__(self) -> Message:
        return next(self._requests)

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        # The loop waits for the caller. In a thread it would not, but a thread cannot be cancelled: it would read on
        # in the next request of the connection.
        await asyncio.sleep(0)
        for request in self._requests:
            return request
        raise StopAsyncIteration


class _Responses:
    """The responses of an async generator, for a thread that takes them one by one."""

    def __init__(self, responses: AsyncIterable[Message], context: CallContext) -> None:
        self._responses = responses
        self._context = context
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._given: list[Message] = []
        self._is_wanted: asyncio.Future[None] | None = None
        self._has_ended = False

    def __iter__(self) -> Iterator[Message]:
        return self

    def __next__(self) -> Message:
        if self._has_ended:
            raise StopIteration
        if self._is_wanted is not None and not self._is_wanted.done():
            self._is_wanted.set_result(None)
        try:
            _outside_of_loops(self._run)
        except asyncio.CancelledError as error:
            raise _reason(error, self._context)  # noqa: B904  # it has its cause
        if self._given:
            return self._given.pop()
        raise StopIteration

    def close(self) -> None:
        """End the generator in its loop; its error is raised."""
        if self._task is None:
            self._has_ended = True
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            # Whoever collects garbage may be in a loop.
            _outside_of_loops(self._run)

    def _run(self) -> None:
        """Run the loop up to the next message or the end; raises what the generator ends with."""
        if _is_loop_running():
            raise RuntimeError(GREENLETS)
        if self._loop is None or self._task is None:
            self._loop = asyncio.new_event_loop()
            self._task = self._loop.create_task(self._produce())
            self._task.add_done_callback(lambda task: task.get_loop().stop())
        loop, task = self._loop, self._task
        try:
            loop.run_forever()
        except BaseException:
            if not task.done():
                # A signal has the worker stop: as in a plain generator, that goes through the function.
                task.cancel()
                loop.run_forever()
            raise
        finally:
            if task.done():
                self._has_ended = True
                # The traceback of its error refers to this.
                self._task = self._is_wanted = None
                loop.close()
                if not task.cancelled():
                    task.exception()  # else it is logged as one that nobody has looked at
        try:
            if self._has_ended:
                task.result()
        finally:
            # Its traceback refers to this frame.
            del task

    async def _produce(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = _Deadline(self._context)
        responses = aiter(self._responses)
        try:
            async for message in responses:
                self._given.append(message)
                self._is_wanted = loop.create_future()
                loop.stop()
                await self._is_wanted
        finally:
            deadline.forget()
            _forget_cancellation()
            try:
                if isinstance(responses, AsyncGenerator):
                    await _closed(responses)
            finally:
                await _end_others()


def _forget_cancellation() -> None:
    """Let the current task await on: task groups cancel once more one that has been cancelled."""
    task = asyncio.current_task()
    if sys.version_info >= (3, 11) and task is not None:
        while task.cancelling():
            task.uncancel()


async def _closed(responses: AsyncGenerator[Message, None]) -> None:
    try:
        await responses.aclose()
    except BaseException as error:
        # A task group makes a group of the GeneratorExit that goes through it.
        split = getattr(error, "split", None)
        if split is None:
            raise
        rest: BaseException | None = split(GeneratorExit)[1]
        if rest is not None:
            raise rest from None


async def _end_others() -> None:
    """End what the function has begun beside itself, as asyncio.run() does."""
    loop = asyncio.get_running_loop()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
