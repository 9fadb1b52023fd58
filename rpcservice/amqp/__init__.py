"""RPC, events and queues over AMQP 0-9-1; the only folder that imports kombu."""
