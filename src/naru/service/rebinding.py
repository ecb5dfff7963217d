"""Ports that are bound anew, where what decides it has changed: what their host can do, or what their QoS policy asks of it."""

from collections.abc import Iterable

from naru.model.resources import Changes, Port, put
from naru.model.trunks import SUB_PORT_OWNER
from naru.model.view import View
from naru.service.binding import bound, check_enforced
from naru.service.provisioning import unwired
from naru.service.sub_ports import place_anew


def bind_anew(view: View, port: Port) -> Changes[None]:
    """A port that could not be bound may be now, and one that was may be plugged otherwise."""
    if port.device_owner == SUB_PORT_OWNER:
        yield from place_anew(view, port)
        return
    changed = bound(view, unwired(port))
    if (changed.binding_vif_type, changed.binding_vif_details) != (port.binding_vif_type, port.binding_vif_details):
        yield put(changed)


def follow_policy(view: View, ports: Iterable[Port]) -> Changes[None]:
    """After the policy of ports, or its rules, changed. Raises Conflict (QosRuleNotSupported) where the host of one does not enforce it."""
    for port in ports:
        check_enforced(view, port)
        if port.binding_vif_type == "binding_failed":
            yield from bind_anew(view, port)
