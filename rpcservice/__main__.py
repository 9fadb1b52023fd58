"""``python -m rpcservice``: the same as ``rpcservice``."""

from rpcservice.cli import main

if __name__ == "__main__":
    main()
