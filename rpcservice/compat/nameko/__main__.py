"""``python -m rpcservice.compat.nameko``, in the place of ``python -m nameko``."""

from rpcservice.compat.nameko.cli.main import main

if __name__ == "__main__":
    main()
