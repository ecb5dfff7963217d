"""The rules that a policy file may have, by Neutron's names: they follow from the collections and from the descriptions of kinds."""

from collections.abc import Iterator

from naru.api.collections import Collection
from naru.api.network import COLLECTIONS
from naru.model.attributes import Who
from naru.model.qos import RULE_KINDS
from naru.model.resources import attributes, rule_name

# Those that are about no collection, and parts of attributes.
OTHERS = (
    "context_is_admin",
    *(f"{verb}_quota" for verb in ("get", "update", "delete")),
    *(f"{verb}_port_binding" for verb in ("get", "create", "update", "activate", "delete")),
    *(f"{verb}_port:fixed_ips:ip_address" for verb in ("create", "update")),
    *(f"{verb}_router:external_gateway_info:{part}" for part in ("enable_snat", "external_fixed_ips") for verb in ("create", "update")),
    *(f"{verb}_flavor_service_profile" for verb in ("create", "delete")),
    *("get_dhcp-agents", "get_dhcp-networks", "create_dhcp-network", "delete_dhcp-network"),
    *("get_l3-agents", "get_l3-routers", "create_l3-router", "delete_l3-router"),
    *("get_loggable_resource", "get_network_ip_availability", "get_network_ip_forecast"),
)


def rule_names() -> frozenset[str]:
    return frozenset((*OTHERS, *(name for collection in COLLECTIONS for name, _ in rules_of(collection))))


def rules_of(collection: Collection) -> Iterator[tuple[str, Who | None]]:
    """-> names, and of an attribute's who may do it where the file says nothing."""
    kind = collection.kind
    verbs = {"get": True, "create": collection.create, "update": collection.update, "delete": collection.delete}
    yield from ((rule_name(verb, kind), None) for verb, plan in verbs.items() if plan)
    yield from ((name, None) for name in collection.actions if name not in ("add_addresses", "remove_addresses"))  # update_address_group
    if kind in RULE_KINDS:
        return  # as a whole or not at all
    for wire, item in attributes(kind).items():
        described = item.attribute
        rights: dict[str, Who] = {
            "get": described.see,
            "create": described.post if collection.create else "nobody",
            "update": described.put if collection.update else "nobody",
        }
        if item.field != "project_id":
            yield from ((rule_name(verb, kind, wire), who) for verb, who in rights.items() if who != "nobody")
