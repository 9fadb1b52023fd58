"""A service with every entrypoint of nameko-amqp-retry."""

from kombu import Exchange, Queue
from nameko.events import EventDispatcher
from nameko.messaging import Publisher
from nameko.rpc import rpc as plain_rpc
from nameko_amqp_retry import Backoff, entrypoint_retry
from nameko_amqp_retry.events import event_handler
from nameko_amqp_retry.messaging import consume
from nameko_amqp_retry.rpc import rpc

QUEUE = Queue("parcels", Exchange("parcels", type="direct"), routing_key="parcels")
_seen: dict = {}


class Soon(Backoff):
    """Comes again after some milliseconds, three times at most."""

    schedule = (50,)
    random_sigma = 0
    limit = 3


def count(name):
    """Count a call; gives how often it has come."""
    _seen.setdefault(name, []).append(True)
    return len(_seen[name])


class RetryingService:
    name = "retrying"

    send = Publisher(QUEUE.exchange)
    dispatch = EventDispatcher()

    @rpc
    def third_time(self, name):
        attempts = count(name)
        if attempts < 3:
            raise Soon()
        return {"attempts": attempts, "name": name}

    @rpc
    def never(self):
        count("never")
        raise Soon()

    @rpc
    @entrypoint_retry(retry_for=ValueError, limit=5, schedule=(50,), random_sigma=0)
    def decorated(self, name):
        if count(name) < 2:
            raise ValueError("not yet")
        return "done"

    @rpc
    def fail(self):
        raise ValueError("for good")

    @event_handler("retrying", "parcel_sent")
    def on_sent(self, payload):
        if count(payload) < 3:
            raise Soon()

    @consume(QUEUE)
    def on_parcel(self, payload):
        if count(payload) < 3:
            raise Soon()

    @plain_rpc
    def attempts(self, name):
        return len(_seen.get(name, []))

    @plain_rpc
    def start(self, event, parcel):
        self.dispatch("parcel_sent", event)
        self.send(parcel, routing_key="parcels")
