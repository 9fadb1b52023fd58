"""Starts nameko's services as processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from json_process import JsonProcess

HERE = Path(__file__).parent


@contextmanager
def nameko_shop(python: str, uri: str, instance: str, folder: Path) -> Iterator[JsonProcess]:
    """Run an instance of nameko's shop; inside of the context it takes requests and events."""
    command = [python, str(HERE / "nameko_services.py"), uri, instance]
    with JsonProcess(command, folder / f"{instance}.log") as shop:
        shop.wait_for(ready=instance)
        yield shop
