"""A display whose server is gone is an error and not an endless wait."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mink_pd.errors import MinkPDError
from mink_pd.render import display
from mink_pd.render.window import check_display


@contextmanager
def server(answer: bytes | None) -> Iterator[str]:
    """A server on a free port that answers every connection so, or never (None); yields its DISPLAY."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        kept = []

        def serve() -> None:
            connection, _ = listening.accept()
            kept.append(connection)
            if answer is not None:
                connection.recv(12)
                connection.sendall(answer)
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listening.getsockname()[1] - 6000}.0"
        for connection in kept:
            connection.close()


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "PATIENCE", 0.2)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


@pytest.mark.parametrize("answer", [b"\1", b"\0", b"\2"])  # success, refused for want of a cookie, more is wanted
def test_a_server_that_answers_is_there(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(answer) as name:
        monkeypatch.setenv("DISPLAY", name)
        check_display()


@pytest.mark.parametrize("answer", [b"", None])  # a forwarding whose other end is gone; one that hangs
def test_a_server_that_says_nothing_is_not(answer: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(answer) as name:
        monkeypatch.setenv("DISPLAY", name)
        with pytest.raises(MinkPDError, match=f"no server answers at DISPLAY={name}; save the picture"):
            check_display()


@pytest.mark.parametrize("name", [":7777", "unix:7777.0", "localhost:1999.0", "no.such.host.invalid:10.0"])
def test_no_server_at_all(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", name)
    with pytest.raises(MinkPDError, match="no server answers at"):
        check_display()
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-7777")
    with pytest.raises(MinkPDError, match="and WAYLAND_DISPLAY=wayland-7777"):
        check_display()


def test_no_display_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(MinkPDError, match="no display to open a window on; save"):
        check_display()
