"""Checksums of what a device sends, computed before it goes out: a switch in user space gets frames as they are.

As `ethtool --offload DEVICE tx off` does, in process: a program for each of hundreds of taps takes longer than all their wiring.
Source: linux/ethtool.h, linux/sockios.h, netdevice(7), setns(2).
"""

import ctypes
import fcntl
import socket
import struct
from concurrent.futures import ThreadPoolExecutor

from naru.drivers import iproute
from naru.drivers.announce import CLONE_NEWNET, enter_namespace

SIOCETHTOOL, ETHTOOL_STXCSUM = 0x8946, 0x17


def compute_checksums(lines: list[str]) -> dict[int, str]:
    """`netns device` in each line; return the reason of each that failed, by its index."""
    with ThreadPoolExecutor(1) as own:  # a namespace is a thread's: this one ends in the last
        reasons = own.submit(lambda: [_compute(*line.split()) for line in lines]).result()
    return {index: reason for index, reason in enumerate(reasons) if reason}


def _compute(netns: str, device: str) -> str:
    off = ctypes.create_string_buffer(struct.pack("=II", ETHTOOL_STXCSUM, 0))  # struct ethtool_value
    asked = struct.pack("16sP16x", device.encode(), ctypes.addressof(off))  # struct ifreq
    try:
        enter_namespace(iproute.NETNS_DIR / netns, CLONE_NEWNET)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, SIOCETHTOOL, asked)
    except OSError as error:
        return f"cannot have {device} in network namespace {netns} compute its checksums: {error.strerror}"
    return ""
