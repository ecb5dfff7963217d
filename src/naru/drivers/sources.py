"""What filters say of addresses, in whichever tool's words: from which a port may send, and which stand for a group. Pure."""

import hashlib
from collections.abc import Iterable, Iterator
from ipaddress import collapse_addresses, ip_network

from naru.drivers.links import link_local
from naru.model.hoststate import FilterState


def allowed_sources(value: FilterState) -> dict[str, list[str]]:
    """MAC -> the addresses and prefixes that a port may send from with it; the link-local one that follows from it among them."""
    macs: dict[str, list[str]] = {value.mac_address: []}
    for source in value.sources:
        macs.setdefault(source.mac_address, []).append(source.ip_address)
    return {mac: list(_collapsed([*texts, str(link_local(mac))])) for mac, texts in macs.items()}


def numbered(ids: Iterable[str], size: int) -> dict[str, int]:
    """A number below `size` for each id. It follows from the id alone, but where two have the same: then the next is taken."""
    numbers: dict[str, int] = {}
    taken: set[int] = set()
    for id in sorted(set(ids)):
        number = int.from_bytes(hashlib.sha256(id.encode()).digest()[:8]) % size
        while number in taken:
            number = (number + 1) % size
        taken.add(number)
        numbers[id] = number
    return numbers


def _collapsed(texts: Iterable[str]) -> Iterator[str]:
    """The same addresses in as few prefixes as can be: intervals of a set must not overlap. A prefix of one is an address."""
    networks = [ip_network(text, strict=False) for text in texts]
    for version in (4, 6):
        for network in collapse_addresses(network for network in networks if network.version == version):  # type: ignore[type-var]
            yield _text(str(network))


def widest(texts: list[str]) -> Iterator[str]:
    """Without what lies in another; neighbours are not joined, so that one member more is one element more."""
    prefixes = {ip_network(text, strict=False) for text in texts if "/" in text}
    whole = {ip_network(text) for text in _collapsed(map(str, prefixes))}
    yield from (_text(str(network)) for network in whole)
    for text in texts:
        if "/" not in text and not any(ip_network(text).subnet_of(network) for network in whole):  # type: ignore[arg-type]
            yield text


def _text(network: str) -> str:
    return network.removesuffix("/128" if ":" in network else "/32")
