"""The service of counted_services.py, and one that tells what their process holds."""

from counted_services import Counted
from processes import count_greenlets, holdings

from rpcservice import rpc

__all__ = ["Counted", "Inspector"]


class Inspector:
    name = "inspector"

    @rpc
    def look(self) -> dict[str, float]:
        """Tell what this process holds now."""
        return {"greenlets": count_greenlets(), **holdings()._asdict()}
