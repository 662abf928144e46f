"""Checks whether a display's server answers. Open3D's window waits for ever for one that is gone, e.g. after ssh -X
was closed, or in an old tmux session."""

import contextlib
import os
import re
import socket
from pathlib import Path

PATIENCE = 3.0  # [s] for the server's first answer
_HELLO = b"l\0" + (11).to_bytes(2, "little") + bytes(8)  # set-up request: little-endian, X11, no authorisation


def x_server_answers(display: str) -> bool:
    """Whether an X server answers at ``display``, such as ``:0``, ``unix:1.0`` or ``host:10.0``.

    A server that refuses the connection because we send no cookie also counts. For other forms of names the answer is
    True, and the window library has to find out.
    """
    match = re.fullmatch(r"(?:(?P<host>.*?)(?:/unix)?)?:(?P<number>\d+)(?:\.\d+)?", display)
    if match is None:
        return True
    host, number = match["host"] or "", int(match["number"])
    if host not in ("", "unix"):
        return number < 60_000 and _answers((host.strip("[]"), 6000 + number))
    path = f"/tmp/.X11-unix/X{number}"
    return any(_answers(address) for address in (path, f"\0{path}"))  # as a file, or as an abstract socket of Linux


def wayland_answers(display: str) -> bool:
    """Whether a Wayland compositor accepts a connection at ``display``, a path or a name in XDG_RUNTIME_DIR."""
    path = Path(os.environ.get("XDG_RUNTIME_DIR", "/")) / display
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(path))
        return True
    return False


def _answers(address: str | tuple[str, int]) -> bool:
    with contextlib.suppress(OSError):
        if isinstance(address, tuple):
            connection = socket.create_connection(address, PATIENCE)
        else:
            connection = socket.socket(socket.AF_UNIX)
        with connection:
            connection.settimeout(PATIENCE)
            if isinstance(address, str):
                connection.connect(address)
            connection.sendall(_HELLO)
            return len(connection.recv(1)) == 1
    return False
