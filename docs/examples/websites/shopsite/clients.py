"""The clients that views and commands of this project share."""

from django.conf import settings

from rpcservice import ClusterRpcClient, event_dispatcher

cluster = ClusterRpcClient(settings.RPCSERVICE)
dispatch = event_dispatcher(settings.RPCSERVICE)
