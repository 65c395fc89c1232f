"""What a device process has for its front ends: the shared port, a private socket, themselves."""

from __future__ import annotations

import socket

from rrl_client.addresses import format_address
from services.shared.errors import UserError
from services.teacher.config import TeacherConfig
from services.teacher.front_ends.process import FrontEndTask
from services.teacher.front_ends.socket_directory import SocketDirectory
from services.teacher.front_ends.supervisor import FrontEnds

_START_SECONDS = 60.0


class FrontEndDoor:
    """Reserves the port at once; `open` starts the processes when there is something to serve."""

    def __init__(self, config: TeacherConfig) -> None:
        """Reserve.

        Args:
            config: Of the service.

        Raises:
            UserError: The address cannot be listened on.
        """
        self._config = config
        self._reserved = _reserve_port(config.host, config.port)
        self._directory = SocketDirectory()
        self._processes: FrontEnds | None = None

    @property
    def port(self) -> int:
        """The TCP port that all front ends share."""
        return int(self._reserved.getsockname()[1])

    @property
    def device_address(self) -> str:
        """Where the device process listens for its front ends."""
        return f"unix:{self._directory.path}/device.sock"

    def open(self, max_message_bytes: int) -> None:
        """Start the processes, and wait until all serve.

        Args:
            max_message_bytes: Largest message that they read.

        Raises:
            UserError: They do not.
        """
        config = self._config
        task = FrontEndTask(
            config=config,
            addresses=(format_address(config.host, self.port), *config.unix_addresses),
            device_address=self.device_address,
            max_message_bytes=max_message_bytes,
        )
        self._processes = FrontEnds(task, config.front_ends)
        self._processes.wait_until_serving(_START_SECONDS)

    def give_up(self) -> None:
        """End a wait for the processes to serve; safe from another thread."""
        if self._processes is not None:
            self._processes.give_up()

    def close(self, grace_seconds: float) -> None:
        """End the processes, after the queries they have under way, and free the port."""
        if self._processes is not None:
            self._processes.stop(grace_seconds)
        self._reserved.close()
        self._directory.close()


def _reserve_port(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise UserError(
            f"the teacher cannot listen on {format_address(host, port)} ({error.strerror}); "
            "give another --port"
        ) from error
    return made
