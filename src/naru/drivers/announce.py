"""Announcements: neighbours and switches hear at once where an address is now, instead of when their memory of it runs out.

By IPv4 a gratuitous ARP request and a reply, since some believe only the one or only the other; by IPv6 an unsolicited neighbour
advertisement. The kernel does it by itself only for addresses that a device has when it comes up. fence.py listens to these frames.
Sources: RFC 5227 section 3, RFC 4861 section 7.2.6, packet(7), setns(2).
"""

import ctypes
import os
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from naru.drivers import iproute
from naru.drivers.fence import MARK

CLONE_NEWNET = 0x40000000  # linux/sched.h
ETH_P_ARP, ETH_P_IPV6 = 0x0806, 0x86DD
REQUEST, REPLY = 1, 2
BROADCAST, ALL_NODES_MAC = b"\xff" * 6, bytes.fromhex("333300000001")
ALL_NODES = IPv6Address("ff02::1")
ROUTER_OVERRIDES = 0xA0000000  # RFC 4861 section 4.4: flags R and O


def announce(netns: str, lines: list[str]) -> dict[int, str]:
    """`device address` in each line; return the reason of each that failed, by its index."""
    with ThreadPoolExecutor(1) as own:  # a namespace is a thread's: this one ends in it
        return own.submit(_announce, netns, lines).result()


def _announce(netns: str, lines: list[str]) -> dict[int, str]:
    try:
        enter_namespace(iproute.NETNS_DIR / netns, CLONE_NEWNET)
    except OSError as error:
        return dict.fromkeys(range(len(lines)), f"cannot enter network namespace {netns}: {error.strerror}")
    failed = {}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:  # one for all: the kernel takes milliseconds to close it
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        for index, line in enumerate(lines):
            device, address = line.split()
            try:
                sender.bind((device, 0))
                for frame in announcements(sender.getsockname()[4], ip_address(address)):
                    sender.send(frame)
            except OSError as error:
                failed[index] = f"cannot announce {address} on {device}: {error.strerror}"
    return failed


def announcements(mac: bytes, address: IPv4Address | IPv6Address) -> tuple[bytes, ...]:
    """The frames."""
    if isinstance(address, IPv4Address):
        return gratuitous_arp(mac, address, REQUEST), gratuitous_arp(mac, address, REPLY)
    return (neighbour_advertisement(mac, address),)


def gratuitous_arp(mac: bytes, address: IPv4Address, operation: int) -> bytes:
    """A request for one's own address, or an answer that nobody asked for; of a reply the receiver looks at both MACs."""
    header = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)  # Ethernet, IPv4, their lengths
    target = mac if operation == REPLY else bytes(6)
    return BROADCAST + mac + struct.pack("!H", ETH_P_ARP) + header + mac + address.packed + target + address.packed


def neighbour_advertisement(mac: bytes, address: IPv6Address) -> bytes:
    """Of a router, to all nodes; it overrides what they knew."""
    option = struct.pack("!BB", 2, 1) + mac  # target link-layer address
    message = struct.pack("!BBHI", 136, 0, 0, ROUTER_OVERRIDES) + address.packed + option
    pseudo_header = address.packed + ALL_NODES.packed + struct.pack("!II", len(message), socket.IPPROTO_ICMPV6)
    message = message[:2] + struct.pack("!H", _checksum(pseudo_header + message)) + message[4:]
    header = struct.pack("!IHBB", 6 << 28, len(message), socket.IPPROTO_ICMPV6, 255) + address.packed + ALL_NODES.packed
    return ALL_NODES_MAC + mac + struct.pack("!H", ETH_P_IPV6) + header + message


def _checksum(octets: bytes) -> int:
    """RFC 1071, of an even number of octets."""
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def enter_namespace(path: Path, kind: int) -> None:
    """Move the calling thread. Raises OSError. (Python has os.setns from 3.12 on.)"""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if libc.setns(descriptor, kind) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(descriptor)
