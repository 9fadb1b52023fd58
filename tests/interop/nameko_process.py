"""Starts nameko's services as processes."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from json_process import JsonProcess

HERE = Path(__file__).parent


@contextmanager
def nameko_shops(python: str, uri: str, instances: Sequence[str], folder: Path) -> Iterator[list[JsonProcess]]:
    """Run instances of nameko's shop, side by side; inside of the context they take requests and events.

    Our own Python runs them in the drop-in mode.
    """
    with ExitStack() as stack:
        shops = []
        for instance in instances:
            command = [python, str(HERE / "nameko_services.py"), uri, instance]
            if python == sys.executable:
                command.append("drop-in")
            shops.append(stack.enter_context(JsonProcess(command, folder / f"{instance}.log")))
        for shop, instance in zip(shops, instances, strict=True):
            shop.wait_for(ready=instance)
        yield shops
