"""Handover, what a worker gets from its supervisor through exec: its number, a channel, listening sockets."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from rpcservice.core.process import NUMBER_VARIABLE
from rpcservice.errors import CommandError

VARIABLE = "RPCSERVICE_SUPERVISED"


@dataclass(frozen=True)
class Handover:
    """The descriptors and the number of one worker.

    Attributes:
        number: From 1 on.
        channel: The descriptor of its end of the channel.
        listeners: Descriptors of listening sockets, by what :func:`listener_name` gives.
        count: How many workers there are to be.
    """

    number: int
    channel: int
    listeners: Mapping[str, int] = field(default_factory=dict)
    count: int = 1

    @property
    def descriptors(self) -> list[int]:
        """What must stay open through exec."""
        return [self.channel, *self.listeners.values()]

    def environment(self) -> dict[str, str]:
        """Give the variables by which the worker finds all of it."""
        told = {
            "number": self.number,
            "channel": self.channel,
            "listeners": dict(self.listeners),
            "count": self.count,
        }
        return {VARIABLE: json.dumps(told), NUMBER_VARIABLE: str(self.number)}

    @classmethod
    def take(cls) -> Self | None:
        """Give what this process was handed over, and take it out of the environment; None where it is no worker.

        Raises:
            CommandError: Somebody else has set the variable.
        """
        told = os.environ.pop(VARIABLE, None)
        if told is None:
            # Of a worker that has started this process, which is none itself.
            os.environ.pop(NUMBER_VARIABLE, None)
            return None
        try:
            handover = cls(**json.loads(told))
            # What this process starts is to have none of it, or the sockets would live as long.
            for descriptor in handover.descriptors:
                os.set_inheritable(descriptor, False)
        except (ValueError, TypeError, AttributeError, OSError) as exc:
            raise CommandError(f"{VARIABLE} is {told!r}; unset it, it is for workers that a supervisor starts") from exc
        return handover


def listener_name(key: str, address: str) -> str:
    """Give what a listening socket goes by: the key and the address of a configuration."""
    return f"{key}={address}"
