"""The facts of packet filters: tables, chains, sets, elements; each with its `nft` lines.

A chain's first rule is a comment with the digest of its text and does nothing else: so a chain is known again without
comparing what nft makes of a rule, and another text is another digest. Elements are compared one by one, and a change of one is one line.
"""

import hashlib
from collections.abc import Iterable
from typing import ClassVar, NamedTuple

from naru.drivers.base import Action, Fact, Step

NFT = ("nft",)
TABLE = "naru"  # the name of our tables, in each family: the proof that what is in them is ours


class Element(NamedTuple):
    """An element of a set, or with a value of a map, in nft's words."""

    family: str
    set: str
    key: str
    value: str = ""

    @property
    def text(self) -> str:
        return f"{self.key} : {self.value}" if self.value else self.key


class Tables(Fact, frozen=True):
    """Our tables with the sets that are always there: "family name" -> what it holds."""

    sets: dict[str, str]  # read: without specifications
    families: tuple[str, ...]
    goes_last: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return "tables"

    def is_met_by(self, have: Fact) -> bool:
        return isinstance(have, Tables) and self.sets.keys() <= have.sets.keys() and self.families == have.families

    def add(self) -> Iterable[Step]:
        for family in self.families:
            yield Action(self.key, NFT, f"add table {family} {TABLE}")
        for title, spec in self.sets.items():
            family, _, name = title.partition(" ")
            yield Action(self.key, NFT, f"add {'map' if ' : ' in spec else 'set'} {family} {TABLE} {name} {{ {spec}; }}")

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        return self.add()

    def remove(self) -> Iterable[Action]:
        for family in self.families:
            yield Action(self.key, NFT, f"delete table {family} {TABLE}")


class Chain(Fact, frozen=True):
    """A chain and its rules."""

    family: str
    title: str
    rules: tuple[str, ...] = ()  # read: not told; digest and count stand for them
    hook: str = ""  # "prerouting priority -300": a chain that packets enter by themselves
    digest: str = ""
    count: int = 0
    goes_last: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return f"chain/{self.family}/{self.title}"

    def is_met_by(self, have: Fact) -> bool:
        return isinstance(have, Chain) and (self.digest, self.count) == (have.digest, have.count)

    def add(self) -> Iterable[Step]:
        path = f"{self.family} {TABLE} {self.title}"
        hook = f" {{ type filter hook {self.hook}; policy accept; }}" if self.hook else ""
        rules = (f'continue comment "{self.digest}"', *self.rules)
        added = "; ".join(f"add rule {path} {rule}" for rule in rules)
        yield Action(self.key, NFT, f"add chain {path}{hook}; flush chain {path}; {added}")

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        return self.add()

    def remove(self) -> Iterable[Action]:
        path = f"{self.family} {TABLE} {self.title}"
        yield Action(self.key, NFT, f"flush chain {path}; delete chain {path}")


class Elements(Fact, frozen=True):
    """All elements of one owner, a port or a network, in whichever sets they are."""

    title: str
    elements: frozenset[Element]

    @property
    def name(self) -> str:
        return f"elements/{self.title}"

    def add(self) -> Iterable[Step]:
        return _lines(self.key, "add", self.elements)

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        present = have.elements if isinstance(have, Elements) else frozenset()
        yield from _lines(self.key, "delete", present - self.elements)
        yield from _lines(self.key, "add", self.elements - present)

    def remove(self) -> Iterable[Action]:
        return _lines(self.key, "delete", self.elements)


class Members(Fact, frozen=True):
    """A set of addresses and prefixes of one IP version: the members of a group that rules name."""

    title: str
    type: str
    addresses: frozenset[str]
    goes_last: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return f"set/{self.title}"

    def is_met_by(self, have: Fact) -> bool:
        return isinstance(have, Members) and self.addresses == have.addresses

    def add(self) -> Iterable[Step]:
        yield Action(self.key, NFT, f"add set inet {TABLE} {self.title} {{ type {self.type}; flags interval; }}")
        yield from self._elements("add", self.addresses)

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        present = have.addresses if isinstance(have, Members) else frozenset()
        yield from self._elements("delete", present - self.addresses)
        yield from self._elements("add", self.addresses - present)

    def remove(self) -> Iterable[Action]:
        yield Action(self.key, NFT, f"delete set inet {TABLE} {self.title}")

    def _elements(self, verb: str, addresses: Iterable[str]) -> Iterable[Action]:
        return _lines(self.key, verb, (Element("inet", self.title, address) for address in addresses))


def chain(key: str, family: str, title: str, rules: Iterable[str], hook: str = "") -> Chain:
    """A wanted chain."""
    rules = tuple(rules)
    digest = hashlib.sha256("\n".join((hook, *rules)).encode()).hexdigest()[:16]
    return Chain(key, family, title, rules, hook, digest, len(rules) + 1)


def _lines(key: str, verb: str, elements: Iterable[Element]) -> Iterable[Action]:
    """One line for each set."""
    by_set: dict[str, list[str]] = {}
    for element in sorted(elements):
        # A map's element is deleted by its key: whatever it leads to by now, it goes.
        text = element.key if verb == "delete" else element.text
        by_set.setdefault(f"{element.family} {TABLE} {element.set}", []).append(text)
    for path, texts in by_set.items():
        yield Action(key, NFT, f"{verb} element {path} {{ {', '.join(texts)} }}")
