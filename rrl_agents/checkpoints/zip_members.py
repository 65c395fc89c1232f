"""Reads members of untrusted zip archives, each up to a bound."""

from __future__ import annotations

import io
import zipfile


class ZipMembers:
    """A zip archive in memory.

    Attributes:
        names: Names of all members.
    """

    def __init__(self, data: bytes) -> None:
        """Read the archive's list of members.

        Args:
            data: The untrusted archive.

        Raises:
            ValueError: It is not a zip archive.
        """
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
        except zipfile.BadZipFile as error:
            raise ValueError(f"no whole zip archive ({error}); copy the file again") from error
        self.names = frozenset(self._archive.namelist())

    def read(self, name: str, max_bytes: int) -> bytes:
        """Read one member.

        Args:
            name: Name of the member.
            max_bytes: Most bytes it may have.

        Returns:
            Its content, decompressed.

        Raises:
            ValueError: It is missing, larger, encrypted or damaged.
        """
        try:
            info = self._archive.getinfo(name)
        except KeyError:
            raise ValueError(f"the archive has no {name[:80]!r}; copy the file again") from None
        if info.file_size > max_bytes:
            raise ValueError(
                f"{name[:80]!r} in the archive has {info.file_size} bytes unpacked; at most "
                f"{max_bytes} are read"
            )
        try:
            with self._archive.open(info) as member:
                content = member.read(max_bytes + 1)
        # zipfile raises RuntimeError for a password; zlib and others raise their own errors.
        except Exception as error:
            raise ValueError(
                f"{name[:80]!r} in the archive cannot be read ({error}); copy the file again"
            ) from error
        if len(content) != info.file_size:
            raise ValueError(
                f"{name[:80]!r} in the archive is cut off: {len(content)} bytes, not "
                f"{info.file_size}; copy the file again"
            )
        return content
