"""Services with extensions that need no server: caches, event logs, StatsD, commands, injection, schedules."""

from nameko.events import EventDispatcher, event_handler
from nameko.rpc import rpc
from nameko_atomicity import DispatchCommands, RollbackCommands, dispatch_after_commit, rollback_once_failed
from nameko_cachetools import CachedRpcProxy, CacheFirstRpcProxy
from nameko_cron import ConcurrencyPolicy, cron
from nameko_eventlog_dispatcher import EventLogDispatcher
from nameko_injector.core import NamekoInjector, request_scope
from nameko_statsd import StatsD

_seen = []


class SourceService:
    name = "source"

    @rpc
    def count(self, key):
        _seen.append(key)
        if _seen.count(key) > 2:
            raise ValueError("too often")
        return _seen.count(key)


class CachedService:
    name = "cached"

    first = CacheFirstRpcProxy("source")
    spare = CachedRpcProxy("source")

    @rpc
    def first_from_cache(self):
        return [self.first.count("first") for _ in range(3)]

    @rpc
    def cache_when_it_fails(self):
        return [self.spare.count("spare") for _ in range(4)]


class LoggedService:
    name = "logged"

    log = EventLogDispatcher()

    @rpc
    def work(self):
        self.log("worked", {"amount": 1})

    @event_handler("logged", "log_event")
    def on_log(self, payload):
        _seen.append((payload["event_type"], payload["entrypoint_name"]))

    @rpc
    def logged(self):
        return sorted(entry for entry in _seen if isinstance(entry, tuple))


class MeteredService:
    name = "metered"

    statsd = StatsD("metrics")

    @rpc
    @statsd.timer("work_time")
    def work(self):
        self.statsd.incr("work_count")


class CommandsService:
    name = "commands"

    dispatch = EventDispatcher()
    after = DispatchCommands()
    undo = RollbackCommands()

    @rpc
    @dispatch_after_commit
    def commit(self):
        self.after.append(func=self.dispatch, args=("committed", "dispatched"), kwargs={})

    @rpc
    @rollback_once_failed
    def fail(self):
        self.undo.append(func=_seen.append, args=("undone",), kwargs={})
        raise ValueError("failed")

    @event_handler("commands", "committed")
    def on_committed(self, payload):
        _seen.append(payload)

    @rpc
    def seen(self, what):
        return what in _seen


class Session:
    """What is injected by its type."""


def _bind(binder):
    binder.bind(Session, to=Session, scope=request_scope)


@NamekoInjector([_bind]).decorate_service
class InjectedService:
    name = "injected"

    @rpc
    def session(self, prefix, session: Session):
        return f"{prefix} {type(session).__name__}"


class ScheduledService:
    name = "scheduled"

    @cron("* * * * * */1", concurrency=ConcurrencyPolicy.ALLOW)
    def tick(self):
        _seen.append("tick")

    @rpc
    def ticks(self):
        return _seen.count("tick")
