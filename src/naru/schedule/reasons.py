"""Why a network was chosen, passed over or refused, in words: one row per code. Codes are stable, for programs; words are for people.

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
        "{free} addresses are free, and pool {pool} keeps {floor} of them free; {needed} are needed",
        "주소 {free}개가 비어 있지만 풀 {pool}이(가) {floor}개를 남겨 두도록 정했습니다. 필요한 주소는 {needed}개입니다",
    ),
    "project_share": Words(
        "the project has {used} addresses of pool {pool} and may have {limit}; {needed} more are needed",
        "이 프로젝트는 풀 {pool}에서 주소를 {limit}개까지 쓸 수 있고 이미 {used}개를 쓰고 있습니다. {needed}개가 더 필요합니다",
    ),
}


def words(code: str, values: Mapping[str, Any], language: Language = "en") -> str:
    template = REASONS[code].ko if language == "ko" else REASONS[code].en
    return template.format_map(values) if values else template
