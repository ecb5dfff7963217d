"""Checksums of what a device sends, computed before it goes out: a switch in user space gets frames as they are.

As `ethtool --offload DEVICE tx off` does, in process: a program for each of hundreds of taps takes longer than all their wiring.
Source: linux/ethtool.h, linux/sockios.h, netdevice(7), setns(2).
"""

import ctypes
import fcntl
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from naru.drivers import iproute
from naru.drivers.announce import CLONE_NEWNET, enter_namespace

SIOCETHTOOL, ETHTOOL_STXCSUM = 0x8946, 0x17


def compute_checksums(lines: list[str]) -> dict[int, str]:
    """`netns device` in each line; return the reason of each that failed, by its index."""
    with ThreadPoolExecutor(1) as own:  # a namespace is a thread's: this one ends in the last
        reasons = own.submit(lambda: [_why_not(*line.split()) for line in lines]).result()
    return {index: reason for index, reason in enumerate(reasons) if reason}


def compute_of(namespace: Path, device: str) -> None:
    """Of one device, in the network namespace of a path, where the calling thread remains. Raises OSError."""
    off = ctypes.create_string_buffer(struct.pack("=II", ETHTOOL_STXCSUM, 0))  # struct ethtool_value
    asked = struct.pack("16sP16x", device.encode(), ctypes.addressof(off))  # struct ifreq
    enter_namespace(namespace, CLONE_NEWNET)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCETHTOOL, asked)


def _why_not(netns: str, device: str) -> str:
    try:
        compute_of(iproute.NETNS_DIR / netns, device)
    except OSError as error:
        return f"cannot have {device} in network namespace {netns} compute its checksums: {error.strerror}"
    return ""
