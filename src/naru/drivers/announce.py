"""Gratuitous ARP: neighbours and switches hear at once where an address is now, instead of when their memory of it runs out.

Source: RFC 5227 section 3, packet(7), setns(2). The kernel does it by itself only for addresses that a device has when it comes up.
"""

import ctypes
import os
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from pathlib import Path

from naru.drivers import iproute

CLONE_NEWNET = 0x40000000  # linux/sched.h
ETH_P_ARP = 0x0806
BROADCAST = b"\xff" * 6


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
    for index, line in enumerate(lines):
        device, address = line.split()
        try:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
                sender.bind((device, ETH_P_ARP))
                sender.send(gratuitous_arp(sender.getsockname()[4], IPv4Address(address)))
        except OSError as error:
            failed[index] = f"cannot announce {address} on {device}: {error.strerror}"
    return failed


def gratuitous_arp(mac: bytes, address: IPv4Address) -> bytes:
    """The frame: a request for one's own address."""
    header = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)  # Ethernet, IPv4, their lengths, request
    return BROADCAST + mac + struct.pack("!H", ETH_P_ARP) + header + mac + address.packed + bytes(6) + address.packed


def enter_namespace(path: Path, kind: int) -> None:
    """Move the calling thread. Raises OSError. (Python has os.setns from 3.12 on.)"""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if libc.setns(descriptor, kind) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(descriptor)
