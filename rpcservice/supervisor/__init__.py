"""Several processes of one ``rpcservice run``: ``member`` is a worker's side, all else the supervisor's.

The supervisor imports no service and no eventlet: it starts workers, listens for them, and sees to it that they run.
"""
