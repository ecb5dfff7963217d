"""Why a network was chosen, passed over or refused, and what would help: one row per code. Codes are for programs, and stable.

The words are completed with the values of a verdict (`str.format`).
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Language = Literal["en", "ko"]


class Words(NamedTuple):
    en: str
    ko: str


REASONS: Mapping[str, Words] = {
    # -- chosen or passed
    "chosen": Words(
        "chosen for {taken} of {count}: {free} of {usable} addresses were free",
        "{count}개 가운데 {taken}개를 이 네트워크에 배정했습니다. 주소 {usable}개 중 {free}개가 비어 있었습니다",
    ),
    "grown": Words(
        "it grew by {subnets}, and was chosen for {taken} of {count}: {free} of {usable} addresses were free then",
        "{subnets}을(를) 덧붙여 늘린 뒤 {count}개 가운데 {taken}개를 배정했습니다. 그때 주소 {usable}개 중 {free}개가 비어 있었습니다",
    ),
    "not_needed": Words(
        "it fits, but others come first: {free} of {usable} addresses are free",
        "조건에는 맞지만 먼저 쓸 네트워크가 있어 쓰지 않았습니다. 주소 {usable}개 중 {free}개가 비어 있습니다",
    ),
    "no_quorum": Words(
        "it fits, but all candidates together have room for {possible}, and at least {least} are wanted",
        "조건에는 맞지만 후보를 모두 합쳐도 {possible}개까지만 배정할 수 있어, 필요한 {least}개에 모자랍니다",
    ),
    # -- refused
    "admin_down": Words("it is administratively down", "관리자가 사용을 중지한 네트워크입니다"),
    "external": Words("it is external, and taken only when it is named", "외부 네트워크는 직접 지정할 때만 사용합니다"),
    "no_subnet": Words("it has no subnet", "서브넷이 없습니다"),
    "cordoned": Words("it is cordoned in pool {pool}{because}", "풀 {pool}에서 새 배정을 막아 둔 네트워크입니다{because}"),
    "purpose": Words(
        "its pool {pool} is kept for [{has}], and the pick asks for [{wanted}]",
        "이 네트워크가 속한 풀 {pool}의 용도는 [{has}]인데, 요청한 용도는 [{wanted}]입니다",
    ),
    "not_allowed": Words(
        "the project may not use it: it is neither its own nor shared with it",
        "이 프로젝트가 사용할 수 없는 네트워크입니다. 프로젝트의 소유도 아니고 공유받지도 않았습니다",
    ),
    "unreachable": Words("no host that could be used carries it: {why}", "이 네트워크에 연결할 수 있는 호스트가 없습니다: {why}"),
    "unhealthy": Words(
        "its DHCP server on host {host} does not answer: the agent is not alive",
        "호스트 {host}의 에이전트가 죽어 있어 이 네트워크의 DHCP 서버가 응답하지 않습니다",
    ),
    "dhcp_off": Words("DHCP is off on its subnets, and the pick asks for DHCP", "서브넷의 DHCP가 꺼져 있는데, 요청은 DHCP가 필요합니다"),
    "ip_version": Words(
        "it has no IPv{missing} subnet, and the pick asks for {wanted}", "IPv{missing} 서브넷이 없는데, 요청은 {wanted} 주소가 필요합니다"
    ),
    "mtu": Words("its MTU is {mtu} bytes, less than the {wanted} asked for", "MTU가 {mtu}바이트로, 요청한 {wanted}바이트보다 작습니다"),
    "port_security": Words(
        "port security is {has} here, and the pick asks for {wanted}", "포트 보안이 {has} 상태인데, 요청은 {wanted} 상태를 원합니다"
    ),
    "qos": Words("its QoS policy is {has}, and the pick asks for {wanted}", "QoS 정책이 {has}인데, 요청은 {wanted}을(를) 원합니다"),
    "affinity": Words("none of the ports to be near is on it", "가까이 두려는 포트가 이 네트워크에 없습니다"),
    "anti_affinity": Words("{ports} of the ports to keep away from are on it", "떨어져 있어야 할 포트 {ports}개가 이 네트워크에 있습니다"),
    "full": Words(
        "{needed} needed, {free} free = {usable} usable - {allocated} allocated - {held} held - {quarantined} quarantined",
        "주소 {needed}개가 필요한데 빈 주소는 {free}개입니다 (전체 {usable} - 할당 {allocated} - 예약 {held} - 격리 {quarantined})",
    ),
    "floor": Words(
        "{needed} needed, {free} free, and pool {pool} keeps {floor} of these free",
        "주소 {free}개가 비어 있지만 풀 {pool}이(가) {floor}개를 남겨 두도록 정했습니다. 필요한 주소는 {needed}개입니다",
    ),
    "project_share": Words(
        "{needed} needed; of the addresses of pool {pool} the project has {used}, and may have {limit}",
        "이 프로젝트는 풀 {pool}에서 주소를 {limit}개까지 쓸 수 있고 이미 {used}개를 쓰고 있습니다. {needed}개가 더 필요합니다",
    ),
}


# What would make a refused pick a yes: a row for each code of `fixes.PROPOSALS`.
FIXES: Mapping[str, Words] = {
    "ask_fewer": Words("ask for {count}: there is room for so many", "{count}개만 요청하면 됩니다. 그만큼은 자리가 있습니다"),
    "relax": Words("ask without {attribute}", "{attribute} 조건을 빼고 요청하면 됩니다"),
    "ask_pool": Words(
        "name pool {pool} in the request: its networks are kept for [{purposes}]",
        "요청에 풀 {pool}을(를) 지정하면 됩니다. 이 풀의 용도는 [{purposes}]입니다",
    ),
    "wait": Words(
        "wait {seconds} s: until then the quarantine of {addresses} of the addresses ends",
        "{seconds}초 기다리면 됩니다. 그때까지 주소 {addresses}개의 격리가 끝납니다",
    ),
    "free_ports": Words(
        "delete idle ports of network {network} (DOWN, without a device), whose addresses are free {seconds} s later: {ports}",
        "네트워크 {network}에서 쓰지 않는 포트(DOWN 상태, 연결된 장치 없음)를 지우면 {seconds}초 뒤에 주소가 빕니다: {ports}",
    ),
    "uncordon": Words("uncordon network {network} in pool {pool}", "풀 {pool}에서 네트워크 {network}의 배정 차단을 풀면 됩니다"),
    "admin_up": Words("set admin_state_up of network {network} to true", "네트워크 {network}의 admin_state_up을 true로 바꾸면 됩니다"),
    "lower_floor": Words(
        "lower the floor of pool {pool} to {floor}: network {network} has enough then",
        "풀 {pool}이(가) 남겨 두는 주소를 {floor}개로 줄이면 됩니다. 그러면 네트워크 {network}의 주소로 충분합니다",
    ),
    "raise_share": Words(
        "raise the project_share of pool {pool}, so that the project may have {addresses} more",
        "풀 {pool}의 project_share를 주소 {addresses}개만큼 늘리면 됩니다",
    ),
    "extend": Words(
        "extend the allocation pools of subnet {subnet} of network {network} by {addresses} or more",
        "네트워크 {network}의 서브넷 {subnet}에서 할당 풀을 주소 {addresses}개만큼 늘리면 됩니다",
    ),
    "raise_limit": Words(
        "raise the limit of what {of} may grow by (autogrow) to {limit}",
        "{of}이(가) 자동으로 늘어날 수 있는 한도(autogrow의 limit)를 {limit}(으)로 올리면 됩니다",
    ),
    "raise_quota": Words("raise the project's port quota by {ports}", "프로젝트의 포트 쿼터를 {ports}개 늘리면 됩니다"),
}


def words(code: str, values: Mapping[str, Any], language: Language = "en") -> str:
    """Of a reason or a fix, completed."""
    row = REASONS.get(code) or FIXES[code]
    return getattr(row, language).format_map(values)  # type: ignore[no-any-return]
