"""CallPolicy, what may stand between a client and its calls: the protocols by which transports use ``reliability/``."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Protocol

from rpcservice.concurrency import Backend

POLICY_OPTIONS = ("breaker", "fallback", "max_in_flight", "retry")
"""The options of clients that are no business of a transport."""

# Named and not imported, for the core does not know who carries policies out; nor is it loaded for clients without.
_HOME = "rpcservice.reliability.client"


class Call(Protocol):
    """A call under way."""

    @property
    def was_answered(self) -> bool:
        """Whether it has ended with a reply, be it an error that the method raised."""
        ...

    def is_done(self) -> bool:
        """Say whether :meth:`result` would give or raise at once."""
        ...

    def add_done_callback(self, function: Callable[[Any], object]) -> None:
        """Have a function called with this call when its outcome is there; it must not wait."""
        ...

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the outcome."""
        ...


class Request(Protocol):
    """A request that can be sent more than once, each time with the same ids."""

    service_name: str
    method_name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def backend(self) -> Backend:
        """On what the client runs."""
        ...

    @property
    def service(self) -> Any:
        """The service instance that calls; None in programs that are no services."""
        ...

    @property
    def was_answered(self) -> bool:
        """Whether what was sent last has ended with a reply."""
        ...

    @property
    def can_be_sent(self) -> bool:
        """Whether it is of use to send it: not when the client has been stopped."""
        ...

    def time_left(self) -> float | None:
        """Give the seconds for which somebody waits for what this request is for; None where nobody says."""
        ...

    def send(self) -> Any:
        """Send it; gives the Call."""
        ...

    def wait(self, seconds: float) -> Any:
        """Wait before it is sent again; gives the Call where the reply to what was sent before comes after all."""
        ...


class CallPolicy(Protocol):
    """How a client's calls are carried out."""

    def call(self, request: Request) -> Any:
        """Carry a call out and wait for its result."""
        ...

    def start(self, request: Request) -> Any:
        """Start a call; gives a Call."""
        ...


class CallPolicies(Protocol):
    """The policies of one client, and what they know of the services that it calls."""

    @property
    def circuits(self) -> tuple[Any, ...]:
        """The circuits of its breakers, each with ``service_name`` and ``state``."""
        ...

    def make(self, options: Mapping[str, Any]) -> CallPolicy:
        """Give the policy that these options ask for."""
        ...


def take_policy_options(options: dict[str, Any]) -> dict[str, Any]:
    """Take the options for a policy out of a client's options; those that are None are as good as not given."""
    taken = {name: options.pop(name) for name in POLICY_OPTIONS if name in options}
    return {name: value for name, value in taken.items() if value is not None}


def check_policy_options(options: Mapping[str, Any]) -> None:
    """Look at a client's options for a policy.

    Raises:
        TypeError: One of them is something else than it may be.
        ValueError: A number is out of its range.
    """
    given = take_policy_options(dict(options))
    if given:
        import_module(_HOME).PolicyOptions.read(given)


def make_policies(backend: Backend, service_cls: type | None) -> CallPolicies:
    """Give what makes the policies of one client.

    Args:
        backend: On what the client runs.
        service_cls: The service that it belongs to, if any.
    """
    policies: CallPolicies = import_module(_HOME).Policies(backend, service_cls)
    return policies
