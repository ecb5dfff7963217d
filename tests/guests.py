"""Who sends and hears on a host while things are wired: a guest behind its tap, an instance in its namespace, somebody out on the wire.

Each is a process on the host that looks for its device again and again, sends as soon as it is there, and counts what it hears by the
words in the frames.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence

# {"tap": name} holds a tap, as a hypervisor does; {"netns": name, "device": name} is in a namespace, whenever there is one.
# A line on standard input: what was heard since the last one is printed. When the input ends, so does the process.
PROGRAM = """
import ctypes, fcntl, json, os, re, select, socket, struct, sys, time
me = json.loads(sys.argv[1])
frames, heard, number, libc = [bytes.fromhex(text) for text in me["frames"]], {}, 0, ctypes.CDLL(None, use_errno=True)

def set_up(device):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        flags = struct.unpack("16sH", fcntl.ioctl(control, 0x8913, struct.pack("16sH14x", device.encode(), 0))[:18])[1]  # SIOCGIFFLAGS
        fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", device.encode(), flags | 1))  # SIOCSIFFLAGS, IFF_UP

class Tap:
    def __init__(self):
        self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.fd, 0x400454CA, struct.pack("16sH14x", me["tap"].encode(), 0x1002))  # TUNSETIFF: IFF_TAP, IFF_NO_PI
        set_up(me["tap"])
    def send(self, frame):
        os.write(self.fd, frame)
    def receive(self):
        return os.read(self.fd, 65536)
    def close(self):
        os.close(self.fd)

class Device:
    def __init__(self):
        with open("/run/netns/" + me["netns"]) as namespace:
            if libc.setns(namespace.fileno(), 0x40000000):  # CLONE_NEWNET
                raise OSError("no such namespace")
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(3))
        self.socket.bind((me["device"], 0))
        self.socket.setsockopt(263, 1, struct.pack("iHH8x", socket.if_nametoindex(me["device"]), 1, 0))  # PACKET_MR_PROMISC
        self.socket.setsockopt(263, 23, 1)  # PACKET_IGNORE_OUTGOING
        set_up(me["device"])
    def send(self, frame):
        self.socket.send(frame)
    def receive(self):
        return self.socket.recv(65536)
    def close(self):
        self.socket.close()

end = None
print("ready", flush=True)
while True:
    if end is None:
        try:
            end = Tap() if "tap" in me else Device()
        except OSError:
            time.sleep(0.001)
    try:
        for _ in range(50 if end is not None and frames else 0):
            end.send(frames[number % len(frames)])
            number += 1
            if me["pause_s"]:
                break
    except BlockingIOError:
        pass
    except OSError:  # it is down, or gone
        if "tap" not in me:
            end.close()
            end = None
    try:
        while end is not None:
            for word in re.findall(rb"<(allowed|forbidden[ -;=?-~]*)>", end.receive()):
                heard[word.decode()] = heard.get(word.decode(), 0) + 1
    except BlockingIOError:
        pass
    except OSError:
        if "tap" not in me:
            end.close()
            end = None
    if select.select([sys.stdin], [], [], me["pause_s"])[0]:
        if not sys.stdin.readline():
            break
        print(json.dumps(heard), flush=True)
        heard = {}
"""


def _end(program: subprocess.Popen[str]) -> None:
    for pipe in (program.stdin, program.stdout):
        assert pipe is not None
        pipe.close()
    program.wait(20)


class Guest:
    """`frames` are sent in turn, without a pause unless `pause_s` says so; `enter` are the words that lead to the host."""

    def __init__(self, enter: Sequence[str], frames: list[bytes], pause_s: float = 0.0, **where: str) -> None:
        told = where | {"frames": [frame.hex() for frame in frames], "pause_s": pause_s}
        command = [*enter, sys.executable, "-u", "-S", "-E", "-c", PROGRAM, json.dumps(told)]
        self._program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._said() == "ready"

    def heard(self) -> Mapping[str, int]:
        """How often it has heard what since it was last asked."""
        assert self._program.stdin is not None
        self._program.stdin.write("\n")
        self._program.stdin.flush()
        counted: dict[str, int] = json.loads(self._said())
        return counted

    def _said(self) -> str:
        assert self._program.stdout is not None
        return self._program.stdout.readline().strip()

    def end(self) -> None:
        """Its tap goes with it."""
        _end(self._program)


# Holds the tap of a virtual machine and, in a namespace, the machine's own network card; what comes to one goes out of the other, until
# standard input ends.
MACHINE = """
import ctypes, fcntl, os, select, socket, struct, sys
tap, netns, mac = sys.argv[1:]

def device(name):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH14x", name.encode(), 0x1002))  # TUNSETIFF: IFF_TAP, IFF_NO_PI
    return fd

def control(number, name, *told):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, number, struct.pack("16sH14s", name.encode(), *told))

outer = device(tap)
control(0x8914, tap, 1, b"")  # SIOCSIFFLAGS, IFF_UP
with open("/run/netns/" + netns) as namespace:
    assert ctypes.CDLL(None).setns(namespace.fileno(), 0x40000000) == 0  # CLONE_NEWNET
inner = device("eth0")
control(0x8924, "eth0", 1, bytes.fromhex(mac.replace(":", "")) + bytes(8))  # SIOCSIFHWADDR, ARPHRD_ETHER
control(0x8914, "eth0", 1, b"")
print("ready", flush=True)
while sys.stdin not in (ready := select.select([outer, inner, sys.stdin], [], [])[0]):
    for source, target in ((outer, inner), (inner, outer)):
        if source in ready:
            frame = os.read(source, 65536)
            try:
                os.write(target, frame)
            except OSError:  # it is down
                pass
"""

SAY = "/run/say-lease"  # on the host: prints what a DHCP client tells it


class Machine:
    """What a hypervisor runs: a tap that it holds, and behind it a guest with the port's MAC, which is a namespace called `netns`."""

    def __init__(self, enter: Sequence[str], tap: str, netns: str, mac: str) -> None:
        self._inside = [*enter, "ip", "netns", "exec", netns]
        prepare = f"ip netns add {netns}; printf '#!/bin/sh\\nenv\\n' >{SAY}; chmod +x {SAY}"
        subprocess.run([*enter, "sh", "-c", prepare], check=True, capture_output=True, timeout=20)
        command = [*enter, sys.executable, "-S", "-E", "-c", MACHINE, tap, netns, mac]
        self._program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._program.stdout is not None
        assert self._program.stdout.readline() == "ready\n"

    def run(self, *argv: str) -> str:
        """What a command in the guest printed."""
        return subprocess.run([*self._inside, *argv], check=False, capture_output=True, text=True, timeout=30).stdout

    def asks_dhcp(self) -> str:
        """The address that it gets, as `ip` takes it; "" for none."""
        lease = self.run("busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "5", "-T", "1", "-s", SAY)
        found = {name: value for name, _, value in (line.partition("=") for line in lease.splitlines())}
        if "ip" not in found:
            return ""
        self.run("ip", "address", "replace", f"{found['ip']}/{found['mask']}", "dev", "eth0")
        return found["ip"]

    def pings(self, address: str, *options: str) -> bool:
        return " 0% packet loss" in self.run("ping", "-c", "1", "-W", "1", *options, address)

    def end(self) -> None:
        """Its tap goes with it."""
        _end(self._program)
