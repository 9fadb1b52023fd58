"""Every exception that rpcservice raises; imports nothing else, and may be used from anywhere.

::

    RpcServiceError
    ├── ConfigError                     a wrong, missing or contradictory setting
    ├── DeclarationError                a service class that cannot be hosted as it is written
    ├── CommandError                    a mistake on the command line
    ├── ExtensionNotFound               (AttributeError) no dependency or entrypoint of that name
    ├── ContainerBeingKilled            the container no longer takes work
    ├── WorkerPoolFull                  no worker came free within the time allowed
    ├── Requeue                         a method asks for its message again, later
    ├── Reject                          a method wants its message never again
    ├── WorkerTimeout                   a method ran for longer than its time_limit
    ├── StoreUnavailable                the store of idempotent calls cannot be asked
    ├── OffloadError                    offloaded work could not be done, or its outcome not be told
    │   └── OffloadFull                 every thread or process of an Offload is busy, and enough calls wait
    ├── MissingExtra                    an optional package is not installed
    ├── BrokerError
    │   ├── BrokerUnavailable           no connection within startup_timeout
    │   ├── ConnectionLost              the connection broke, or did not come back in time
    │   ├── ChannelClosed               the broker closed a channel: 404, 403, 405, 406 ...
    │   └── PublishError
    │       ├── PublishTimeout          no confirm in time; the outcome is unknown
    │       ├── PublishRejected         the broker refused the message
    │       ├── MessageTooLarge         not sent: a part is over its limit
    │       │   └── NameTooLong         not asked for: a name of over 255 bytes
    │       └── UndeliverableMessage    a mandatory message that no queue took
    ├── UnserializableValueError        a value that the serializer cannot encode
    ├── WebSocketRefused                on_connect turns a websocket away, with a close code
    └── RpcError
        ├── UnknownService              nothing listens for that service
        ├── RpcTimeout                  no reply within the time-out
        ├── CircuitOpen                 not sent: the service has not answered of late
        ├── TooManyCalls                not sent: max_in_flight calls are under way
        ├── DeadlineExceeded            a request that came too late, and was not carried out
        ├── RemoteError                 the remote method raised
        └── BadRequest
            ├── MalformedRequest        a body that is no request
            ├── MissingKey              a message for an idempotent method that has no key
            ├── MethodNotFound          the service has no such method
            ├── ConnectionNotFound      no websocket has this id, or not any more
            └── IncorrectSignature      arguments that do not fit the method
"""

from rpcservice.errors.base import RpcServiceError
from rpcservice.errors.broker import (
    BrokerError,
    BrokerUnavailable,
    ChannelClosed,
    ConnectionLost,
    MessageTooLarge,
    NameTooLong,
    PublishError,
    PublishRejected,
    PublishTimeout,
    UndeliverableMessage,
)
from rpcservice.errors.calls import (
    BadRequest,
    CircuitOpen,
    ConnectionNotFound,
    DeadlineExceeded,
    IncorrectSignature,
    MalformedRequest,
    MethodNotFound,
    MissingKey,
    RemoteError,
    RpcError,
    RpcTimeout,
    TooManyCalls,
    UnknownService,
)
from rpcservice.errors.services import LONGEST_PAUSE as LONGEST_PAUSE
from rpcservice.errors.services import (
    CommandError,
    ConfigError,
    ContainerBeingKilled,
    DeclarationError,
    ExtensionNotFound,
    MissingExtra,
    OffloadError,
    OffloadFull,
    Reject,
    Requeue,
    StoreUnavailable,
    UnserializableValueError,
    WebSocketRefused,
    WorkerPoolFull,
    WorkerTimeout,
)

__all__ = (  # noqa: RUF022  # in the order in which the documentation lists them
    "RpcServiceError",
    "ConfigError",
    "DeclarationError",
    "CommandError",
    "ExtensionNotFound",
    "ContainerBeingKilled",
    "WorkerPoolFull",
    "Requeue",
    "Reject",
    "WorkerTimeout",
    "StoreUnavailable",
    "OffloadError",
    "OffloadFull",
    "MissingExtra",
    "BrokerError",
    "BrokerUnavailable",
    "ConnectionLost",
    "ChannelClosed",
    "PublishError",
    "PublishTimeout",
    "PublishRejected",
    "MessageTooLarge",
    "NameTooLong",
    "UndeliverableMessage",
    "UnserializableValueError",
    "WebSocketRefused",
    "RpcError",
    "UnknownService",
    "RpcTimeout",
    "CircuitOpen",
    "TooManyCalls",
    "DeadlineExceeded",
    "RemoteError",
    "BadRequest",
    "MalformedRequest",
    "MissingKey",
    "MethodNotFound",
    "ConnectionNotFound",
    "IncorrectSignature",
)

for _name in __all__:
    # By this name they are known on the wire, to pickle and in tracebacks, wherever they are written down.
    globals()[_name].__module__ = __name__
