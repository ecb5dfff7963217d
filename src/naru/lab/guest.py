"""What a virtual machine of the lab boots: Debian's cloud kernel, and a first file system of busybox that asks for its addresses by DHCP.

    <directory>/kernel        from the newest linux-image-…-cloud of the package archive, by `apt-get download`: nothing is installed
    <directory>/initramfs     busybox with its libraries, the modules of a virtio network card, guest-init.sh, guest-udhcpc.sh
    <directory>/made-by       the digest of what is ours of that: with another, both are made anew

Sources: kernel documentation "initramfs buffer format" (newc), modinfo(8) (`depends=` in section .modinfo).
"""

import gzip
import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from naru.lab import LabError

META_PACKAGE = "linux-image-cloud-amd64"
MODULES = ("virtio_pci", "virtio_net")
KERNEL, INITRAMFS, MADE_BY = "kernel", "initramfs", "made-by"
SCRIPTS = {"guest-init.sh": "init", "guest-udhcpc.sh": "bin/configure"}
_HERE = Path(__file__).parent
_FOLDERS = ("bin", "proc", "sys", "dev", "etc", "run", "lib/modules")


def make_guest(directory: Path) -> None:
    """Write both files; what this version made stays as it is. Raises LabError with what is missing."""
    directory.mkdir(parents=True, exist_ok=True)
    made_by = hashlib.sha256(b"".join(path.read_bytes() for path in (Path(__file__), *(_HERE / name for name in SCRIPTS)))).hexdigest()
    if all((directory / name).exists() for name in (KERNEL, INITRAMFS, MADE_BY)) and (directory / MADE_BY).read_text() == made_by:
        return
    with tempfile.TemporaryDirectory() as scratch:
        unpacked = _unpack_kernel(Path(scratch))
        (image,) = unpacked.glob("boot/vmlinuz-*")
        root = Path(scratch) / "root"
        _fill(root, unpacked)
        shutil.copyfile(image, directory / f".{KERNEL}.new")
        (directory / f".{INITRAMFS}.new").write_bytes(gzip.compress(_archive(root), 6))
    for name in (KERNEL, INITRAMFS):
        (directory / f".{name}.new").replace(directory / name)
    (directory / MADE_BY).write_text(made_by)


def _unpack_kernel(scratch: Path) -> Path:
    depends = _run("apt-cache", "depends", META_PACKAGE)
    package = re.search(r"Depends: (\S+)", depends)
    if package is None:
        raise LabError(f"the package archive has no {META_PACKAGE}; apt-get update, and Debian's archive among its sources, would help")
    _run("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package[1], cwd=scratch)
    (archive,) = scratch.glob("*.deb")
    _run("dpkg", "-x", str(archive), str(scratch / "unpacked"))
    return scratch / "unpacked"


def _fill(root: Path, unpacked: Path) -> None:
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True)
    busybox = shutil.which("busybox")
    if busybox is None:
        raise LabError("there is no busybox to boot with; on Debian: apt-get install busybox")
    shutil.copy(busybox, root / "bin/busybox")
    listed = subprocess.run(["ldd", busybox], capture_output=True, text=True, check=False).stdout  # nothing, where it is a static one
    for library in re.findall(r"(/\S+)", listed):
        target = root / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    for number, file in enumerate(_modules(unpacked)):
        shutil.copy(file, root / "lib/modules" / f"{number:02}-{file.name}")
    for source, target in SCRIPTS.items():
        shutil.copyfile(_HERE / source, root / target)
        (root / target).chmod(0o755)


def _modules(unpacked: Path) -> list[Path]:
    """The files of MODULES and of what they depend on, in the order in which they load; what is built in has none."""
    files = {file.name.removesuffix(".ko").replace("-", "_"): file for file in unpacked.glob("lib/modules/*/kernel/**/*.ko")}
    ordered: dict[str, Path] = {}

    def add(name: str) -> None:
        if name in files and name not in ordered:
            depends = re.search(rb"\0?depends=([^\0]*)\0", files[name].read_bytes())
            for needed in depends[1].decode().split(",") if depends else ():
                add(needed.replace("-", "_"))
            ordered[name] = files[name]

    for module in MODULES:
        add(module)
    return list(ordered.values())


def _archive(root: Path) -> bytes:
    """The tree as a cpio archive that the kernel unpacks, all of it root's."""
    entries = [_entry(number, path, str(path.relative_to(root))) for number, path in enumerate(_walk(root), 1)]
    return b"".join(entries) + _member(0, 0, b"", "TRAILER!!!")


def _walk(root: Path) -> Iterator[Path]:
    yield from sorted(root.rglob("*"))


def _entry(number: int, path: Path, name: str) -> bytes:
    return _member(number, path.stat().st_mode, path.read_bytes() if path.is_file() else b"", name)


def _member(number: int, mode: int, content: bytes, name: str) -> bytes:
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + "".join(f"{field:08X}" for field in fields).encode() + name.encode() + b"\0"
    return _padded(head) + _padded(content)


def _padded(part: bytes) -> bytes:
    return part + bytes(-len(part) % 4)


def _run(*argv: str, cwd: Path | None = None) -> str:
    if shutil.which(argv[0]) is None:
        raise LabError(f"there is no {argv[0]}: the kernel of a guest comes from Debian's package archive")
    ran = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=cwd, timeout=300)
    if ran.returncode:
        raise LabError(f"{' '.join(argv)}: {' '.join(ran.stderr.split()) or ran.returncode}")
    return ran.stdout
