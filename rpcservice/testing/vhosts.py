"""Vhosts: virtual hosts for one test after another, emptied rather than made anew where nothing speaks against it."""

from typing import TYPE_CHECKING

from rpcservice.testing.rabbitmq import USER, erlang_binary, vhost_name

if TYPE_CHECKING:
    from rpcservice.testing.rabbitmq import RabbitMQNode

# Gives true where nothing of a test is left: no connection that could come to life in the next one, after a moment
# for those that are just closing, no policy, no permission that is not as it was made, no queue, no exchange.
_EMPTY = """
VHost = %s,
Settle = fun Settle(0) -> false;
             Settle(Left) -> rabbit_networking:connections() =:= [] orelse begin timer:sleep(2), Settle(Left - 1) end
         end,
Own = fun() -> [X || X <- rabbit_exchange:list(VHost), begin {resource, _, _, Name} = element(2, X),
                     Name =/= <<>> andalso binary:part(Name, 0, min(4, byte_size(Name))) =/= <<"amq.">> end] end,
Made = [[{user, <<"%s">>}, {configure, <<".*">>}, {write, <<".*">>}, {read, <<".*">>}]],
IsEmpty = try
    true = Settle(50),
    Made = rabbit_auth_backend_internal:list_vhost_permissions(VHost),
    [] = rabbit_auth_backend_internal:list_vhost_topic_permissions(VHost),
    [] = rabbit_runtime_parameters:list(VHost) ++ rabbit_policy:list(VHost) ++ rabbit_policy:list_op(VHost),
    [rabbit_amqqueue:delete(Q, false, false, <<"test">>) || Q <- rabbit_amqqueue:list(VHost)],
    [rabbit_exchange:delete(element(2, X), false, <<"test">>) || X <- Own()],
    [] = rabbit_amqqueue:list(VHost),
    [] = Own(),
    true
catch _:_ -> false end,
IsEmpty orelse not rabbit_vhost:exists(VHost) orelse rabbit_vhost:delete(VHost, <<"test">>),
IsEmpty
"""


class Vhosts:
    """Lends virtual hosts of a node, each to one test at a time.

    Emptying one takes the node a tenth of the time of deleting it and making another.

    Args:
        node: A node that runs.
    """

    def __init__(self, node: "RabbitMQNode") -> None:
        self._node = node
        self._spare: list[str] = []

    def take(self) -> str:
        """Give the URI of an empty virtual host."""
        return self._spare.pop() if self._spare else self._node.vhost()

    def give_back(self, uri: str) -> None:
        """Empty a virtual host for the next one who takes it, or delete it when something still holds on to it."""
        if self._node.evaluate(_EMPTY % (erlang_binary(vhost_name(uri)), USER)):
            self._spare.append(uri)
