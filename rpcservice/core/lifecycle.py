"""How containers start and stop together: the order is fixed here, over all of them."""

import logging
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING

from rpcservice.core.resource import Resources

if TYPE_CHECKING:
    from rpcservice.core.container import ServiceContainer

_log = logging.getLogger(__name__)


def start_containers(containers: "Sequence[ServiceContainer]", resources: Resources) -> None:
    """Set all up, then start resources, parts of extensions, dependencies and entrypoints, in this order.

    What has started is killed again when something fails.
    """
    try:
        for container in containers:
            container.setup()
        resources.add_wanted()
        resources.start()
        for container in containers:
            for extension in [*container.subextensions, *container.dependencies]:
                container.bring_up(extension, "start")
        for container in containers:
            for entrypoint in container.entrypoints:
                container.bring_up(entrypoint, "start")
            container.started = True
        resources.serve()
        for container in containers:
            container.watch_loop()
    except BaseException as exc:
        for container in containers:
            container.kill(exc)
        resources.kill()
        raise


def stop_containers(containers: "Sequence[ServiceContainer]", resources: Resources | None) -> None:
    """Stop in two phases, so that services in one process may go on calling each other while they finish.

    Sources of work stop first. What runs then may finish, while RPC goes on serving anybody; then serving stops
    too, what is still running may finish, and what does not within ``shutdown_timeout`` seconds goes back to its
    queue. Dependencies and what they stand on stop last, then resources.
    """
    containers = [container for container in containers if not container.is_stopping]
    if containers:
        _stop_services(containers, resources)
    if resources is not None:
        _attempt(resources.stop, "resources")
    for container in containers:
        container.mark_ended()


def _stop_services(containers: "Sequence[ServiceContainer]", resources: Resources | None) -> None:
    deadline = monotonic() + max(container.config.shutdown_timeout for container in containers)
    for container in containers:
        _log.debug("stopping %s", container)
        container.is_stopping = True
        container.stop_deadline = deadline
    _stop_phase(containers, "source")
    if resources is not None:
        # Between the two: what has been sent to this process before it could tell is taken yet.
        _attempt(lambda: resources.drain(deadline), "resources")
    _refuse(containers, "source")
    remaining = {container: container.pool.unfinished() for container in containers}
    for container, contexts in remaining.items():
        container.pool.wait_for(contexts, deadline)
    _stop_phase(containers, "serving")
    _refuse(containers, "serving")
    for container in containers:
        if not container.pool.wait_for(None, deadline):
            _log.warning("service %s: unfinished calls are given back", container.service_name)
            container.pool.kill()
    for container in containers:
        _each(container, [*container.dependencies, *reversed(container.subextensions)], "stop")


def _stop_phase(containers: "Sequence[ServiceContainer]", phase: str) -> None:
    for container in containers:
        _each(container, [entry for entry in container.entrypoints if entry.stop_phase == phase], "stop")


def _refuse(containers: "Sequence[ServiceContainer]", phase: str) -> None:
    for container in containers:
        container.pool.refuse(phase)


def _each(container: "ServiceContainer", extensions: Sequence[object], method: str) -> None:
    for extension in extensions:
        _attempt(getattr(extension, method), f"{type(extension).__name__} of service {container.service_name}")


def _attempt(call: Callable[[], object], what: str) -> None:
    try:
        call()
    except (Exception, SystemExit):
        # One that cannot stop, or would leave now, must not keep the others from stopping.
        _log.exception("stopping %s failed", what)
