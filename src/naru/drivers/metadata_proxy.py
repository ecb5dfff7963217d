"""The process behind drivers/metadata.py: `python -m naru.drivers.metadata_proxy PID_FILE`, which runs beside `config`.

Instances of our own are answered from `config`: OpenStack's and EC2's paths. Others are Nova's: their requests go to its metadata
service with the four headers that say who asks, signed with the shared secret. Who asks is told by where the request comes in and from
which address, never by what it says. SIGHUP: read `config` again. Source: Nova's "Metadata service" guide.
"""

import base64
import contextlib
import hmac
import os
import selectors
import signal
import socket
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import msgspec

from naru.drivers import iproute
from naru.drivers.announce import CLONE_NEWNET, enter_namespace
from naru.drivers.metadata import Asker, Config, Listener, Listening, still_there
from naru.model.hoststate import METADATA_ADDRESS, METADATA_ADDRESS_IPV6

PORT = 80
IP_FREEBIND, IPV6_FREEBIND = 15, 78  # linux/in.h, linux/in6.h: the address may come later
ANSWER_S = 20.0
AT_ONCE = 16
MOST_BYTES = 64 * 1024  # of a body on its way to Nova

Leaf = str | bytes
Tree = Mapping[str, Any]  # name -> a leaf, or what is below it; a name `0=mine` is found as `0`


class Proxy:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._selector = selectors.DefaultSelector()
        self._sockets: dict[Listening, socket.socket] = {}
        self.config = Config()
        self.askers: dict[tuple[str, str], Asker] = {}

    def run(self) -> None:
        woken, wake = socket.socketpair()
        wake.setblocking(False)
        signal.set_wakeup_fd(wake.fileno())
        signal.signal(signal.SIGHUP, lambda *_: None)
        self._selector.register(woken, selectors.EVENT_READ)
        self.load()
        with ThreadPoolExecutor(AT_ONCE) as threads:
            while True:
                for key, _ in self._selector.select():
                    if key.fileobj is woken:
                        woken.recv(100)
                        self.load()
                    else:
                        with contextlib.suppress(OSError):
                            client, peer = key.fileobj.accept()  # type: ignore[union-attr]
                            threads.submit(self._serve, client, peer, key.data)

    def load(self) -> None:
        """Do as `config` says, then say so."""
        text = self._directory.joinpath("config").read_bytes()
        self.config = msgspec.json.decode(text, type=Config)
        self.askers = {(asker.netns, address): asker for asker in self.config.askers for address in asker.addresses}
        kept = [at for at in still_there(self._sockets) if at.listener in self.config.listeners]
        for at in self._sockets.keys() - kept:
            gone = self._sockets.pop(at)
            self._selector.unregister(gone)
            gone.close()
        inodes, heard = iproute.netns_inodes(), {at.listener for at in kept}
        for listener in self.config.listeners:
            if listener not in heard:
                self._listen(listener, inodes.get(listener.netns, 0))
        self._say("listening", msgspec.json.encode(list(self._sockets)))
        self._say("loaded", text)

    def _say(self, name: str, content: bytes) -> None:
        new = self._directory / f".{name}.new"
        new.write_bytes(content)
        new.replace(self._directory / name)

    def _listen(self, listener: Listener, inode: int) -> None:
        with ThreadPoolExecutor(1) as own:  # a socket stays in the namespace that it was made in; the thread that was there ends
            try:
                made, number = own.submit(_open, listener).result()
            except OSError as error:
                print(f"cannot listen in {listener.name}: {error}", file=sys.stderr, flush=True)  # noqa: T201 - its log
                return
        self._sockets[Listening(listener, inode, number)] = made
        self._selector.register(made, selectors.EVENT_READ, listener)

    def _serve(self, client: socket.socket, peer: tuple[str, int], listener: Listener) -> None:
        with client, contextlib.suppress(OSError):
            client.settimeout(ANSWER_S)
            Request(client, peer, self, listener)


class Request(BaseHTTPRequestHandler):
    def __init__(self, client: socket.socket, peer: tuple[str, int], proxy: Proxy, listener: Listener) -> None:
        self._proxy = proxy
        self._address = peer[0].partition("%")[0]
        known = f"{self._address}%{listener.device}" if listener.device else self._address
        self._asker = proxy.askers.get((listener.netns, known))
        super().__init__(client, peer, proxy)  # type: ignore[arg-type]  # it has no server of http.server's

    def do_GET(self) -> None:
        if self._asker is None:
            self._answer(404, b"no instance has this address here\n")
        elif self._asker.document is not None:
            found = find(tree(self._asker), self.path.partition("?")[0])
            self._answer(200 if found is not None else 404, found.encode() if isinstance(found, str) else found or b"")
        elif self._proxy.config.nova_metadata_url:
            self._ask_nova(self._asker)
        else:
            self._answer(404, b"this host knows no metadata of the instance: [agent] nova_metadata_url is not set\n")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        if self._asker is not None and self._asker.document is None:
            self.do_GET()
        else:
            self._answer(405, b"")

    def _ask_nova(self, asker: Asker) -> None:
        import httpx  # noqa: PLC0415 - 10 MB that hosts without Nova do not need

        length = int(self.headers.get("Content-Length") or 0)
        if length > MOST_BYTES:
            self._answer(413, b"")
            return
        config, url = self._proxy.config, self._proxy.config.nova_metadata_url.rstrip("/")
        headers = {
            "X-Forwarded-For": self._address,
            "X-Instance-ID": asker.instance_id,
            "X-Tenant-ID": asker.project_id,
            "X-Instance-ID-Signature": hmac.new(config.shared_secret.encode(), asker.instance_id.encode(), "sha256").hexdigest(),
        }
        try:
            answer = httpx.request(self.command, url + self.path, headers=headers, content=self.rfile.read(length), timeout=ANSWER_S)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            print(f"{url}: {error}", file=sys.stderr, flush=True)  # noqa: T201 - its log
            self._answer(502, b"the metadata service of Nova does not answer\n")
            return
        self._answer(answer.status_code, answer.content, answer.headers.get("Content-Type", "text/plain"))

    def _answer(self, status: int, body: bytes, content_type: str = "text/plain; charset=UTF-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Who asks what is nobody's business here."""


def tree(asker: Asker) -> Tree:
    """What an instance of our own can read, by path."""
    document = asker.document
    assert document is not None
    address = next((address for address in asker.addresses if ":" not in address), "")
    zone = document.availability_zone
    ec2 = {
        "instance-id": asker.instance_id,
        "hostname": document.hostname,
        "local-hostname": document.hostname,
        "local-ipv4": address,
        "placement": {"availability-zone": zone},
    }
    user_data = base64.b64decode(document.user_data)
    openstack = {
        "uuid": asker.instance_id,
        "name": document.name,
        "hostname": document.hostname,
        "project_id": asker.project_id,
        "availability_zone": zone,
        "launch_index": 0,
        "meta": document.meta,
    }
    if document.key_name:
        ec2["public-keys"] = {f"0={document.key_name}": {"openssh-key": document.public_key}}
        openstack["public_keys"] = {document.key_name: document.public_key}
        openstack["keys"] = [{"name": document.key_name, "type": "ssh", "data": document.public_key}]
    of_ec2 = {"meta-data": ec2} | ({"user-data": user_data} if user_data else {})
    of_openstack = {"meta_data.json": msgspec.json.encode(openstack)} | ({"user_data": user_data} if user_data else {})
    return {
        **dict.fromkeys(("2009-04-04", "latest"), of_ec2),
        "openstack": dict.fromkeys(("2012-08-10", "2018-08-27", "latest"), of_openstack),
    }


def find(below: Tree, path: str) -> Leaf | None:
    """The leaf at a path, or the names below it, those that have names below them with a slash; None where there is nothing."""
    found: Any = below
    for part in filter(None, path.split("/")):
        if not isinstance(found, Mapping):
            return None
        found = next((value for name, value in found.items() if part in (name, name.partition("=")[0])), None)
    if not isinstance(found, Mapping):
        return found  # type: ignore[no-any-return]
    return "\n".join(f"{name}/" if isinstance(value, Mapping) and "=" not in name else name for name, value in found.items())


def _open(listener: Listener) -> tuple[socket.socket, int]:
    """-> a socket that listens, and the number of its device, 0 for none."""
    enter_namespace(iproute.NETNS_DIR / listener.netns, CLONE_NEWNET)
    number = socket.if_nametoindex(listener.device) if listener.device else 0
    made = socket.socket(socket.AF_INET6 if number else socket.AF_INET)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if number:
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
            made.bind((METADATA_ADDRESS_IPV6, PORT, 0, number))
        else:
            made.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
            made.bind((METADATA_ADDRESS, PORT))
        made.listen(128)
    except OSError:
        made.close()
        raise
    return made, number


def main(pid_file: str) -> None:
    os.umask(0o077)  # what it writes may hold the secret
    Path(pid_file).write_text(str(os.getpid()))
    Proxy(Path(pid_file).parent).run()


if __name__ == "__main__":
    main(sys.argv[1])
