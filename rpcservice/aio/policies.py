"""Calls from event loops with retries, breaker, bulkhead and fallback: rpcservice.reliability, awaited."""

import asyncio
import inspect
from typing import Any

from rpcservice.aio.loops import end, tell
from rpcservice.amqp.requests import Request
from rpcservice.amqp.rpccall import RpcCall
from rpcservice.reliability.client import NO_ANSWER, NO_FURTHER_ANSWER, Attempts, ClientPolicy, judge


class LoopRequest(Request):
    """A request from a loop, which may be sent more than once."""

    async def pause(self, seconds: float) -> RpcCall | None:
        """Wait before it is sent again; gives the call where the reply to what was sent before comes after all."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        late = self.expect_late(seconds)
        if late is not None and self._provider is not None:
            future: asyncio.Future[Any] = loop.create_future()
            late.add_done_callback(lambda call: tell(loop, end, future, None))
            try:
                await asyncio.wait([future], timeout=seconds)
            finally:
                self._provider.replies.drop(late)
            if late.was_answered:
                self._call = late
                return late
        await asyncio.sleep(max(0, until - loop.time()))
        return None


async def call_by_policy(policy: ClientPolicy, request: LoopRequest) -> Any:
    """Carry a call out; gives its result, or raises what the last attempt did, or what the fallback does."""
    try:
        return await _attempt(policy, request)
    except NO_ANSWER as exc:
        if request.was_answered or not policy.can_recover:
            raise
        return await _recover(policy, request, exc)


async def _recover(policy: ClientPolicy, request: LoopRequest, error: Exception) -> Any:
    attempts = Attempts(policy, request)
    while (pause := attempts.pause_after(error)) is not None:
        late = await request.pause(pause)
        if late is not None:
            return late.result()
        try:
            return await _attempt(policy, request)
        except NO_FURTHER_ANSWER as exc:
            if request.was_answered:
                raise
            error = exc
    result = policy.fall_back(request, attempts.outcome(error))
    return await result if inspect.isawaitable(result) else result


async def _attempt(policy: ClientPolicy, request: LoopRequest) -> Any:
    admission = policy.admit(request.service_name)
    has_failed: bool | None = None
    try:
        result = await request.send().future
        has_failed = False
    except Exception as exc:
        has_failed = judge(exc, request.was_answered)
        raise
    finally:
        admission.end(has_failed)
    return result
