"""Networks as the scheduler sees them, made by hand."""

from naru.schedule.candidates import Candidate, Counts, Facts


def counts(free: int, usable: int = 13) -> Counts:
    return Counts(usable, usable - free, 0, 0, free)


def candidate(name: str, free: int = 13, usable: int = 13, **given: object) -> Candidate:
    """`given` goes to the facts where they have such a field."""
    facts = {field: given.pop(field) for field in list(given) if field in Facts.__struct_fields__}
    has = counts(free, usable)
    facts = Facts(**{"network_id": f"id-of-{name}", "name": name, "ipv4": has, **facts})  # type: ignore[arg-type]
    return Candidate(facts, has, **given)  # type: ignore[arg-type]
