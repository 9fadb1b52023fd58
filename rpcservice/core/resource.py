"""Resource, one shared thing per process and key, and Resources, which keeps them."""

from collections.abc import Hashable, Iterator
from importlib import import_module
from typing import ClassVar, TypeVar, cast

from rpcservice.concurrency import Backend
from rpcservice.config import Settings

R = TypeVar("R", bound="Resource")

# Named and not imported, for the core knows no transport.
_WANTED_BY_SETTING = {"health_address": ("rpcservice.web.server", "HealthServer")}


class Resource:
    """Shared by all containers of a runner: a connection, a web server. Started first, stopped last."""

    starts_early: ClassVar[bool] = False
    """Started before the others, so that it is there while they wait for something."""

    config: Settings
    backend: Backend
    key: Hashable
    resources: "Resources"

    def setup(self) -> None:
        """Called once, when it is first asked for; ask ``self.resources`` here for what this one stands on."""

    def start(self) -> None:
        """Called before dependencies and entrypoints start; may wait until the resource is usable."""

    def serve(self) -> None:
        """Called when every service is up."""

    def drain(self, deadline: float) -> None:
        """Called when the entrypoints that bring work have stopped: take what clients have sent before they knew.

        It may wait a moment, at most until ``deadline`` on the monotonic clock.
        """

    def stop(self) -> None:
        """Called when all services have stopped."""

    def kill(self) -> None:
        """Called instead of ``stop`` when there is no time: must not wait."""

    def health(self) -> str | None:
        """Say what is wrong, in one line, or None when all is well."""
        return None


class Resources:
    """The resources of one runner, each made once, in the order in which they stand on each other."""

    def __init__(self, config: Settings, backend: Backend) -> None:
        self.config = config
        self.backend = backend
        self._known: dict[tuple[type[Resource], Hashable], Resource] = {}
        self._ordered: list[Resource] = []
        self._is_stopping = False
        self._has_ended = False

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._ordered)

    def get(self, cls: type[R], key: Hashable = None) -> R:
        """Give the one instance of ``cls`` for ``key``; make it and set it up when it is not there yet."""
        known = self._known.get((cls, key))
        if known is None:
            known = cls()
            known.config = self.config
            known.backend = self.backend
            known.key = key
            known.resources = self
            self._known[cls, key] = known
            known.setup()
            # After its setup: what it asked for there stands before it in the order.
            self._ordered.append(known)
        return cast(R, known)

    def add_wanted(self) -> None:
        """Make the resources that no service asks for but a setting does, such as ``health_address``."""
        for setting, (module, name) in _WANTED_BY_SETTING.items():
            if getattr(self.config, setting):
                self.get(getattr(import_module(module), name))

    def start(self) -> None:
        """Start the early ones, then the others, each after what it stands on."""
        for early in (True, False):
            for resource in list(self._ordered):
                if resource.starts_early is early:
                    resource.start()

    def serve(self) -> None:
        """Tell all that every service is up."""
        for resource in self._ordered:
            resource.serve()

    def drain(self, deadline: float) -> None:
        """Have all take what is on its way to them."""
        for resource in self._ordered:
            resource.drain(deadline)

    def stop(self) -> None:
        """Stop all, once, each before what it stands on; an error in one does not keep the others running."""
        if self._is_stopping or self._has_ended:
            return
        self._is_stopping = True
        try:
            self._end("stop")
        finally:
            self._has_ended = True

    def kill(self) -> None:
        """Kill all without waiting, also while they stop."""
        if not self._has_ended:
            self._has_ended = True
            self._end("kill")

    def _end(self, how: str) -> None:
        errors = []
        for resource in reversed(self._ordered):
            try:
                getattr(resource, how)()
            except Exception as exc:
                errors.append(exc)
        if errors:
            raise errors[0]

    def health(self) -> list[str]:
        """Give one line for each resource that is not well."""
        return [line for line in (resource.health() for resource in self._ordered) if line]
