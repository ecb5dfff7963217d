"""What devices and namespaces are called, as the field knows them: a prefix and the first 11 characters of a random UUID."""

import hashlib

LONGEST_DEVICE_NAME = 15  # bytes: IFNAMSIZ - 1


def bridge_name(network_id: str) -> str:
    return f"brq{network_id[:11]}"


def tap_name(port_id: str) -> str:
    return f"tap{port_id[:11]}"


def ifb_name(port_id: str) -> str:
    return f"ifb{port_id[:11]}"


def vxlan_name(vni: int) -> str:
    return f"vxlan-{vni}"


def vlan_name(device: str, vlan: int) -> str:
    """`eth1.200`; a device whose name is too long for that gives its first 4 characters and 6 of its hash, as ML2's agent did it."""
    if len(f"{device}.{vlan}") > LONGEST_DEVICE_NAME:
        device = device[:4] + hashlib.sha1(device.encode(), usedforsecurity=False).hexdigest()[:6]
    return f"{device}.{vlan}"


def dhcp_netns(network_id: str) -> str:
    return f"qdhcp-{network_id}"


def dhcp_device(port_id: str) -> str:
    return f"ns-{port_id[:11]}"


def trunk_bridge(parent_id: str) -> str:
    """Nova cuts the name of a bridge after 14 characters."""
    return f"tbr-{parent_id[:10]}"


def router_netns(router_id: str) -> str:
    return f"qrouter-{router_id}"


def router_device(port_id: str) -> str:
    return f"qr-{port_id[:11]}"


def gateway_device(port_id: str) -> str:
    return f"qg-{port_id[:11]}"


def instance_netns(instance_id: str) -> str:
    return f"instance-{instance_id}"
