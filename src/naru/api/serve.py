"""uvicorn around the application: our socket, our stop, told when it answers."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from naru.settings import SettingsError


def listen(bind: str) -> socket.socket:
    """A listening socket at `host:port` (`[v6]:port`). Raises SettingsError when the address cannot be had."""
    host, _, port = bind.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, int(port)))
    except (OSError, ValueError) as error:
        listening.close()
        raise SettingsError(f"cannot listen at {bind}: {error}; choose another address with --bind HOST:PORT") from error
    listening.listen(1024)
    return listening


def tls_context(cert: str, key: str) -> ssl.SSLContext | None:
    """None: HTTP without TLS. Raises SettingsError for a pair that cannot be used."""
    if not cert and not key:
        return None
    if not cert or not key:
        raise SettingsError("tls_cert and tls_key go together; one of them is missing")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(f"cannot use tls_cert {cert} with tls_key {key}: {error}") from error
    return context


def pin(cert: str) -> ssl.SSLContext | None:
    """For a client in the server's own process: it trusts this very certificate, whatever names are in it. None: HTTP without TLS."""
    if not cert:
        return None
    context = ssl.create_default_context(cafile=cert)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


async def serve(
    app: ASGIApp,
    listening: socket.socket,
    tls: ssl.SSLContext | None,
    stop: asyncio.Event,
    on_ready: Callable[[], None],
    on_stop: Callable[[], None],
) -> None:
    """Serve until `stop` is set, then let the requests that run end.

    `on_ready` is called when the first request would be answered, `on_stop` before requests are waited for: endless ones end there.
    """
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=2)
    config.load()
    config.ssl = tls
    http = _Http(config, on_ready)
    serving = asyncio.ensure_future(http.serve(sockets=[listening]))
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    on_stop()
    http.should_exit = True
    await serving


class _Http(uvicorn.Server):
    """uvicorn, without signal handlers: more than a server runs in this process."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
