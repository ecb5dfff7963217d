"""Sockets in other network namespaces, held by the test itself, and the frames to send through them."""

import contextlib
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from ipaddress import ip_address

HAND_OVER = """
import socket, sys
made = socket.socket(*map(int, sys.argv[2:5]))
socket.send_fds(socket.socket(fileno=int(sys.argv[1])), [b"x"], [made.fileno()])
"""
READ_METADATA_BY_IPV6 = """
import http.client, socket, sys
server = http.client.HTTPConnection("metadata", timeout=3)
server.sock = socket.create_connection(("fe80::a9fe:a9fe%eth0", 80), 3)
server.request("GET", sys.argv[1])
answer = server.getresponse()
print(answer.read().decode() if answer.status == 200 else "", end="")
"""
ARP, IPV4, IPV6, VLAN = 0x0806, 0x0800, 0x86DD, 0x8100
EVERYONE = "ff:ff:ff:ff:ff:ff"


def socket_in(enter: Sequence[str], family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> socket.socket:
    """A socket of the namespace that the words of `enter` lead to. It times out after a second."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with here, there:
        words = [*enter, sys.executable, "-S", "-E", "-c", HAND_OVER, str(there.fileno()), str(int(family)), str(int(kind)), str(protocol)]
        subprocess.run(words, pass_fds=[there.fileno()], check=True, timeout=20)
        _, descriptors, _, _ = socket.recv_fds(here, 1, 1)
    made = socket.socket(fileno=descriptors[0])
    made.settimeout(1.0)
    return made


def raw_in(enter: Sequence[str], device: str = "eth0") -> socket.socket:
    """All frames of a device, in and out. Needs root."""
    made = socket_in(enter, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
    made.bind((device, 0))
    return made


def arrives(sender: socket.socket, frame: bytes, sentinel: bytes, receiver: socket.socket) -> bool:
    """Whether a frame reaches the receiver before one that is sent after it, and that has to reach it.

    Where that one is lost, both are sent again: a switch in user space may drop frames while its flows change.
    """
    seen = False
    for _ in range(4):
        sender.send(frame)
        sender.send(sentinel)
        with contextlib.suppress(TimeoutError):
            while sentinel[14:] not in (heard := receiver.recv(65536)):
                seen = seen or frame[18:] in heard  # from 18 on: the kernel takes a VLAN tag out before it shows a frame
            return seen
    raise AssertionError("what has to reach the receiver does not")


def marked() -> bytes:
    """A payload that no other frame has."""
    return os.urandom(18)


def ethernet(source: str, destination: str, kind: int, payload: bytes) -> bytes:
    macs = (bytes.fromhex(mac.replace(":", "")) for mac in (destination, source))
    return b"".join(macs) + struct.pack("!H", kind) + payload


def arp(sender_mac: str, sender: str, target: str) -> bytes:
    """A request, as its sender's own MAC would send it to all."""
    mac = bytes.fromhex(sender_mac.replace(":", ""))
    return struct.pack("!HHBBH", 1, IPV4, 6, 4, 1) + mac + ip_address(sender).packed + bytes(6) + ip_address(target).packed


def udp(source: str, destination: str, source_port: int, destination_port: int, payload: bytes) -> bytes:
    header = struct.pack("!HHHH", source_port, destination_port, 8 + len(payload), 0)
    return packet(source, destination, 17, header[:6], payload)


def icmpv6(source: str, destination: str, kind: int, body: bytes) -> bytes:
    return packet(source, destination, 58, struct.pack("!BB", kind, 0), body, hop_limit=255)


def packet(source: str, destination: str, protocol: int, header: bytes, payload: bytes, hop_limit: int = 64) -> bytes:
    """An IP packet; the checksum of what it carries comes between `header` and `payload`."""
    ends = ip_address(source).packed + ip_address(destination).packed
    length = len(header) + 2 + len(payload)
    pseudo = ends + struct.pack("!IHBB", length, 0, 0, protocol) if ":" in source else ends + struct.pack("!BBH", 0, protocol, length)
    inner = header + struct.pack("!H", checksum(pseudo + header + bytes(2) + payload)) + payload
    if ":" in source:
        return struct.pack("!IHBB", 6 << 28, length, protocol, hop_limit) + ends + inner
    start = struct.pack("!BBHHHBB", 0x45, 0, 20 + length, 0, 0, hop_limit, protocol)
    return start + struct.pack("!H", checksum(start + bytes(2) + ends)) + ends + inner


def checksum(data: bytes) -> int:
    """RFC 1071."""
    words = struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2))
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
