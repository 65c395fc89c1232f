"""Which services of a run are ready, according to their health checks."""

from __future__ import annotations

from collections.abc import Mapping

from services.launcher.run_addresses import RunAddresses
from services.shared.health import is_serving

_ANSWER_SECONDS = 0.5


class Readiness:
    """Which services of a starting run are ready; a ready one is not asked again.

    Args:
        addresses: The run's addresses. Replay is asked at its control service.

    Attributes:
        ready: By service, in the order of their start.
    """

    def __init__(self, addresses: RunAddresses) -> None:
        self._addresses = {
            name.replace("control", "replay"): address
            for name, address in addresses.services.items()
            if not name.startswith("replay")
        }
        self.ready = dict.fromkeys(self._addresses, False)

    def look(self) -> Mapping[str, bool]:
        """Ask those that were not ready yet."""
        for name, is_ready in self.ready.items():
            if not is_ready:
                self.ready[name] = is_serving(
                    self._addresses[name], timeout_seconds=_ANSWER_SECONDS
                )
        return self.ready
