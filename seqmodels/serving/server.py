"""Runs the web application until a signal ends it."""

import contextlib
import ipaddress
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

from seqmodels.errors import InputError
from seqmodels.interop.optional import optional
from seqmodels.serving.app import LOCAL_NAMES, Service
from seqmodels.serving.writers import Writer

GRACE = 3
"""Seconds that answers have to end when the server does."""


def bound(host: str, port: int) -> socket.socket:
    """A socket at an address.

    Raises:
        InputError: there is no such address here, or another program has it.
    """
    if not 0 <= port < 1 << 16:
        raise InputError(f"port={port} was given; expected 1 to 65535, or 0 for any that is free")
    found = None
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        if found is not None:
            found.close()
        why = error.strerror or error
        raise InputError(f"cannot listen at {host}, port {port}: {why}; give another --host or --port") from error
    return found


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def run(
    writer: Writer, name: str, *, host: str = "127.0.0.1", port: int = 8000, at_once: int = 4,
    origins: tuple[str, ...] = (),
) -> None:  # fmt: skip
    """Serve a model until SIGINT or SIGTERM, after which what is being written ends.

    Args:
        writer: completes prompts.
        name: of the model.
        host: address to listen at.
        port: its port; 0 for one that is free.
        at_once: most requests at a time.
        origins: see `Service`.

    Raises:
        InputError: the address cannot be had, or a library is not installed.
    """
    uvicorn = optional("uvicorn", "serve", "seqmodels serve")
    local = is_loopback(host)
    service = Service(writer, name, at_once, LOCAL_NAMES if local else None, origins)
    application = service.application()
    place = bound(host, port)
    settings = uvicorn.Config(
        application, log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE, lifespan="off",
        server_header=False, limit_concurrency=64 + 4 * at_once,
    )  # fmt: skip
    shown = f"[{host}]" if ":" in host else host

    class Server(uvicorn.Server):  # type: ignore[name-defined,misc]
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            print(f"{name} is served at http://{shown}:{place.getsockname()[1]}; Ctrl-C ends it", flush=True)
            if not local:
                print("anyone who reaches this address can use it", file=sys.stderr)

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            def end(number: int, frame: object) -> None:
                service.stop()
                self.handle_exit(number, frame)

            if threading.current_thread() is not threading.main_thread():
                yield
                return
            before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    with place:
        Server(settings).run([place])
