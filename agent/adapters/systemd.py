"""systemd's notification socket: what this process tells the service manager about itself.

Owns: the sd_notify datagrams. Without `NOTIFY_SOCKET` in the environment every call does nothing.
Must not know: what the process does, and never fails it: a service manager that does not listen is no reason
to stop.
"""

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Speaks to the service manager that started this process, if one did."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        # systemd writes abstract sockets with a leading @; the kernel wants a leading zero byte.
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._usec = environment.get("WATCHDOG_USEC", "")

    @property
    def watchdog_s(self) -> float | None:
        """The interval in which systemd wants a `watchdog()`, or None where it watches nothing."""
        return int(self._usec) / 1e6 if self._usec.isdigit() and int(self._usec) > 0 else None

    def ready(self) -> None:
        """The process does its work from now on."""
        self._send("READY=1")

    def watchdog(self) -> None:
        """The process is alive; call it at least twice in `watchdog_s`."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The process ends on purpose."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send("STATUS=" + " ".join(text.split()))

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.settimeout(0.1)
                channel.sendto(message.encode(), self._address)
        except OSError:
            pass  # nobody listens; the charter says that this is never our problem
