"""What hosts have done for a port, and the status that follows from it."""

from msgspec.structs import replace

from naru.model.resources import Changes, Port, Subnet, put
from naru.model.view import View
from naru.service.dhcp import servers_of


def port_status(view: View, port: Port) -> str:
    """ACTIVE only when L2 is wired and, where DHCP gives it addresses, a server has loaded them."""
    is_ready = port.device_owner.startswith("network:") or not _needs_lease(view, port) or _has_lease(view, port)
    return "ACTIVE" if port.admin_state_up and "L2" in port.provisioned and is_ready else "DOWN"


def unwired(port: Port) -> Port:
    """The port while no host has wired it (yet). Its reservation stands where it stood: the host that serves DHCP is another's affair."""
    return replace(port, provisioned=tuple(part for part in port.provisioned if part != "L2"))


def leased_by(host: str) -> str:
    """The part of a port that the DHCP server on a host provisions."""
    return f"DHCP@{host}"


def follow_dhcp(view: View, subnet_id: str) -> Changes[None]:
    """After DHCP was switched on or off in a subnet: what waited for a lease waits no longer, or waits now."""
    for port in list(view.find(Port, "subnet_id", subnet_id)):
        if (status := port_status(view, port)) != port.status:
            yield put(replace(port, status=status))


def _needs_lease(view: View, port: Port) -> bool:
    subnets = (view.get(Subnet, ip.subnet_id) for ip in port.fixed_ips)
    return any(subnet is not None and subnet.leases for subnet in subnets)


def _has_lease(view: View, port: Port) -> bool:
    return any(leased_by(server.binding_host_id) in port.provisioned for server in servers_of(view, port))
