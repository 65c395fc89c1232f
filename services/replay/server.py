"""The replay server: Reverb with the teacher's and the student's table.

    writers --items--> [rate limiter] table [rate limiter] --samples--> readers
    role --checkpoint--> checkpoint_root/<time>/

Errors: `start` raises `UserError` if the port is in use, or the checkpoint is missing, damaged or
from another experiment. Reverb itself refuses items of other shapes and unknown tables. It has
neither encryption nor authentication, and listens on all interfaces. By default only this machine
can use the port (`loopback_guard`); if you open it, keep it inside your network.
"""

from __future__ import annotations

import logging
from typing import Any

from rrl_client.credentials import is_loopback
from services.replay.checkpoint import check_checkpoint, empty_checkpoint_root
from services.replay.config import ReplayConfig
from services.replay.connection import check_signature, server_info
from services.replay.loopback_guard import LoopbackGuard
from services.replay.reverb_library import reverb
from services.replay.tables import build_tables
from services.shared.addresses import check_port_is_free, free_port
from services.shared.errors import UserError

_INFO_TIMEOUT_SECONDS = 60.0
_WARNING = (
    "without encryption or authentication: any host that reaches it can read and write the tables; "
    "keep it inside your network, or set --host 127.0.0.1 to limit it to this machine "
    "(docs/security.md)"
)


def build_replay(config: ReplayConfig) -> ReplayServer:
    """Make the replay server; its `start` starts it."""
    return ReplayServer(config)


class ReplayServer:
    """One Reverb server in this process."""

    def __init__(self, config: ReplayConfig) -> None:
        """Keep the settings; `start` does the work."""
        self._config = config
        self._server: Any = None
        self._guard: LoopbackGuard | None = None

    @property
    def address(self) -> str:
        """Its address for clients on this machine, "host:port".

        Raises:
            RuntimeError: the server is not running.
        """
        if self._server is None:
            raise RuntimeError("the replay server is not running; call start first")
        return f"localhost:{self._server.port}"

    def start(self) -> int:
        """Load the checkpoint, if any, and serve.

        Returns:
            The port.

        Raises:
            UserError: the port is in use; the checkpoint is missing, damaged or from another
                experiment; or the working folder holds other files.
        """
        config = self._config
        # Reverb would share a port that is in use, and start empty if the checkpoint is missing:
        # check both before anything is removed.
        check_port_is_free("0.0.0.0", config.port, purpose="the replay server", flag="port")
        if config.restore_from is not None:
            check_checkpoint(config.restore_from)
        empty_checkpoint_root(config.checkpoint_root)
        self._server = self._load(config.port or free_port())
        try:
            self._guard = _guard(config.host, int(self._server.port))
            self._check_restored_tables()
        except BaseException:
            self.stop()
            raise
        return int(self._server.port)

    def stop(self) -> None:
        """Stop serving; blocked clients are released."""
        if self._server is not None:
            self._server.stop()
            self._server = None
        if self._guard is not None:
            self._guard.close()
            self._guard = None

    def _load(self, port: int) -> Any:
        restore_from = self._config.restore_from
        checkpointer = reverb.checkpointers.DefaultCheckpointer(
            str(self._config.checkpoint_root.resolve()),
            fallback_checkpoint_path=restore_from and str(restore_from.resolve()),
        )
        try:
            return reverb.Server(build_tables(self._config), port=port, checkpointer=checkpointer)
        except RuntimeError as error:
            raise UserError(
                f"replay checkpoint {restore_from} cannot be loaded ({error}); "
                "choose another checkpoint of the run"
                if restore_from is not None
                else f"the replay server cannot start on port {port}: {error}"
            ) from error

    def _check_restored_tables(self) -> None:
        """Check the tables' configuration, which a checkpoint restores, too.

        Raises:
            UserError: it differs from this experiment's, or items are missing.
        """
        found = server_info(reverb.Client(self.address), self.address, _INFO_TIMEOUT_SECONDS)
        for wanted in (table.info for table in build_tables(self._config)):
            table = found[wanted.name]
            check_signature(wanted.name, table.signature, self._config.layout)
            for setting, value in _settings(wanted).items():
                if _settings(table)[setting] != value:
                    raise UserError(
                        f"replay checkpoint {self._config.restore_from} was made with {setting} "
                        f"{_settings(table)[setting]:g} in table {wanted.name!r}, but now it is "
                        f"{value:g}; resume with the settings of that run"
                    )
            # Reverb does not detect a truncated file of items.
            limiter = table.rate_limiter_info
            expected = min(int(limiter.insert_stats.completed), int(table.max_size))
            if table.max_times_sampled == 1:
                # Items leave the table when they are sampled.
                expected -= int(limiter.sample_stats.completed)
            if table.current_size != expected:
                raise UserError(
                    f"replay checkpoint {self._config.restore_from} holds {table.current_size} of "
                    f"{expected} items of table {wanted.name!r}; choose another checkpoint"
                )


def _guard(host: str, port: int) -> LoopbackGuard | None:
    """Limit Reverb's port to this machine if `host` is loopback; else, or if that fails, warn."""
    reason = ""
    if is_loopback(host):
        try:
            return LoopbackGuard(port)
        except OSError as error:
            reason = f", as this system cannot limit it to loopback ({error})"
    logging.getLogger(__name__).warning(
        "replay port %d is open on all interfaces%s, %s", port, reason, _WARNING
    )
    return None


def _settings(info: Any) -> dict[str, float]:
    limiter = info.rate_limiter_info
    return {
        "capacity": info.max_size,
        "min_size": limiter.min_size_to_sample,
        "samples_per_insert": limiter.samples_per_insert,
        "lower error bound": limiter.min_diff,
        "upper error bound": limiter.max_diff,
        # 0 for a uniform selector, which has no exponent.
        "priority exponent": info.sampler_options.prioritized.priority_exponent,
    }
