"""What the DHCP driver would run, line by line."""

from pathlib import Path

from msgspec.structs import asdict, replace

from naru.drivers.advertise import Advertisers
from naru.drivers.base import plan
from naru.drivers.dnsmasq import Dnsmasq
from naru.model.hoststate import AdvertisedPrefix, ClientOption, DhcpState, DhcpSubnet, LeaseState, Route, RouterInterface, RouterState

RUN = Path("/run/naru")
N = "11111111-aaaa-4bbb-8ccc-222222222222"
DIRECTORY = f"/run/naru/dhcp/{N}"
SUBNET = DhcpSubnet("s1", "10.7.0.0/28", "10.7.0.2", "10.7.0.1", ("9.9.9.9", "8.8.8.8"), (Route("10.8.0.0/16", "10.7.0.14"),))
SIX = DhcpSubnet("s6", "fd00:6::/64", "fd00:6::2", "fd00:6::1", ("fd00::53",))
DHCP = DhcpState(N, "p1", f"qdhcp-{N}", "ns-33333333-aa", 1450, (SUBNET,))
LEASE = LeaseState("p5", N, "fa:16:3e:00:00:05", "host-5", ("10.7.0.5", "fd00:6::5"))
BOOTING = replace(LEASE, options=(ClientOption("tag:!ipxe,67", "undionly"), ClientOption("ntp-server", "fd00::123", 6)))


def lines(*values, have=()):
    """What the driver would run for `values` on a host with the facts `have`, as "tool: line"."""
    want, _ = Dnsmasq(RUN).want({value.key: value for value in values})
    planned = plan(want, {fact.name: fact for fact in have}, prune=True)
    return [f"{' '.join(action.tool)}: {action.line}" for action in (*planned.removals, *planned.additions)]


def running(*values, **changes):
    """The DHCP server of `values` as it is read back from a host where it runs."""
    (server,) = Dnsmasq(RUN).want({value.key: value for value in values})[0].values()
    seen = {"addresses": tuple(address.partition("/")[0] for address in server.addresses), "device": ""}
    return type(server)(**asdict(server) | seen | changes)


def written(file, planned):
    prefix = f"write {DIRECTORY}/{file}: "
    return [line.removeprefix(prefix) for line in planned if line.startswith(prefix)]


def ranges(*subnets):
    (server,) = Dnsmasq(RUN).want({DHCP.key: replace(DHCP, subnets=subnets)})[0].values()
    words = [word.removeprefix("--dhcp-range=") for word in server.argv if word.startswith("--dhcp-range")]
    return [word.rpartition(",")[0] for word in words], "--enable-ra" in server.argv


def test_a_server_with_its_addresses_options_and_reservations():
    assert lines(DHCP, LEASE) == [
        f"netns qdhcp-{N} sysctl -q -e -p -: net.ipv6.conf.ns-33333333-aa.accept_ra=0",
        f"netns qdhcp-{N} sysctl -q -e -p -: net.ipv6.conf.ns-33333333-aa.accept_dad=0",
        f"ip -n qdhcp-{N}: link set dev lo up",
        f"ip -n qdhcp-{N}: link set dev ns-33333333-aa up",
        f"ip -n qdhcp-{N}: addr flush dev ns-33333333-aa scope global",
        f"ip -n qdhcp-{N}: addr flush dev ns-33333333-aa to fe80::a9fe:a9fe",
        f"ip -n qdhcp-{N}: addr add 10.7.0.2/28 dev ns-33333333-aa",
        f"announce qdhcp-{N}: ns-33333333-aa 10.7.0.2",
        f"write {DIRECTORY}/tags: ",
        f"write {DIRECTORY}/options: tag:subnet-s1,option:dns-server,9.9.9.9,8.8.8.8",
        f"write {DIRECTORY}/options: tag:subnet-s1,option:router,10.7.0.1",
        f"write {DIRECTORY}/options: tag:subnet-s1,option:classless-static-route,10.8.0.0/16,10.7.0.14,0.0.0.0/0,10.7.0.1",
        f"write {DIRECTORY}/options: tag:subnet-s1,249,10.8.0.0/16,10.7.0.14,0.0.0.0/0,10.7.0.1",
        f"write {DIRECTORY}/reservations: fa:16:3e:00:00:05,host-5,10.7.0.5",
        (
            f"sh: nsenter --net=/run/netns/qdhcp-{N} dnsmasq --conf-file={DIRECTORY}/tags --user=root --group= --port=0 --bind-dynamic "
            f"--interface=ns-33333333-aa --except-interface=lo --pid-file={DIRECTORY}/pid --dhcp-hostsfile={DIRECTORY}/reservations "
            f"--dhcp-optsfile={DIRECTORY}/options --dhcp-leasefile={DIRECTORY}/leases --dhcp-lease-max=65536 --dhcp-authoritative "
            "--no-ping --domain=openstacklocal --dhcp-option=option6:domain-search,openstacklocal --dhcp-option-force=option:mtu,1450 "
            f"--log-facility={DIRECTORY}/log --quiet-dhcp --quiet-dhcp6 --quiet-ra --ra-param=ns-33333333-aa,mtu:1450,0,0 "
            "--dhcp-range=set:subnet-s1,10.7.0.0,static,255.255.255.240,86400s"
        ),
        f"unlink: {DIRECTORY}/stale",
    ]


def test_an_ipv6_subnet_is_served_by_its_mode_and_advertised_where_no_router_does():
    for mode, alone, beside_a_router in (
        ("dhcpv6-stateful", (["set:subnet-s6,fd00:6::,static,64"], True), (["set:subnet-s6,fd00:6::,static,64"], False)),
        ("dhcpv6-stateless", (["set:subnet-s6,fd00:6::,ra-stateless,64"], False), (["set:subnet-s6,fd00:6::,static,64"], False)),
        ("slaac", (["set:subnet-s6,fd00:6::,ra-only,64"], False), ([], False)),
    ):
        assert ranges(replace(SIX, mode=mode, advertised=True)) == alone
        assert ranges(replace(SIX, mode=mode)) == beside_a_router


def test_of_a_prefix_shorter_than_dnsmasq_serves_it_serves_the_part_with_the_server():
    assert ranges(replace(SIX, cidr="fd00:6::/48"))[0] == ["set:subnet-s6,fd00:6::,static,64"]
    assert ranges(replace(SIX, cidr="fd00:6::/120"))[0] == ["set:subnet-s6,fd00:6::,static,120"]


def test_ipv6_addresses_are_reserved_and_name_servers_told():
    planned = lines(replace(DHCP, subnets=(SUBNET, SIX)), LEASE)
    assert f"ip -n qdhcp-{N}: addr add fd00:6::2/64 dev ns-33333333-aa" in planned
    assert written("reservations", planned) == ["fa:16:3e:00:00:05,host-5,10.7.0.5", "fa:16:3e:00:00:05,host-5,[fd00:6::5]"]
    assert written("options", planned)[-1] == "tag:subnet-s6,option6:dns-server,[fd00::53]"
    assert any("--dhcp-option=option6:dns-server,[fd00::53]" in line for line in planned)  # for who has no lease in the subnet


def test_options_of_a_client_come_last_and_its_tag_is_none_of_its_reservation():
    planned = lines(replace(DHCP, subnets=(SUBNET,)), BOOTING)
    assert written("tags", planned) == ["dhcp-mac=set:port-p5,fa:16:3e:00:00:05"]
    assert written("options", planned)[-2:] == ["tag:port-p5,option6:ntp-server,fd00::123", "tag:port-p5,tag:!ipxe,67,undionly"]
    assert written("reservations", planned) == ["fa:16:3e:00:00:05,host-5,10.7.0.5"]


def test_a_value_cannot_be_the_line_of_another_client():
    sly = replace(LEASE, options=(ClientOption("router", "10.7.0.1\ntag:port-p6,option:router,10.7.0.66"),))
    assert [line for line in written("options", lines(DHCP, sly)) if line.startswith("tag:port-p6")] == []


def test_new_tags_need_a_restart_new_values_a_signal():
    changed = replace(BOOTING, options=(replace(BOOTING.options[0], value="other"), BOOTING.options[1]))
    assert f"signal {DIRECTORY}/pid: HUP" in lines(DHCP, changed, have=[running(DHCP, BOOTING)])
    assert lines(DHCP, BOOTING, have=[running(DHCP, LEASE)])[0] == f"signal {DIRECTORY}/pid: TERM"


def test_new_reservation_is_loaded_by_a_signal():
    other = LeaseState("p6", N, "fa:16:3e:00:00:06", "host-6", ("10.7.0.6",))
    planned = lines(DHCP, LEASE, other, have=[running(DHCP, LEASE)])
    assert planned[0] == f"write {DIRECTORY}/stale: "
    assert planned[-4:] == [
        f"write {DIRECTORY}/reservations: fa:16:3e:00:00:05,host-5,10.7.0.5",
        f"write {DIRECTORY}/reservations: fa:16:3e:00:00:06,host-6,10.7.0.6",
        f"signal {DIRECTORY}/pid: HUP",
        f"unlink: {DIRECTORY}/stale",
    ]


def test_agent_that_died_before_the_signal_sends_it_after_its_restart():
    assert f"signal {DIRECTORY}/pid: HUP" in lines(DHCP, LEASE, have=[running(DHCP, LEASE, loaded=False)])


def test_lease_of_an_address_that_is_now_anothers_is_dropped_by_a_restart():
    leases = ("1 fa:16:3e:00:00:99 10.7.0.5 old 01:fa", "1 fa:16:3e:00:00:08 10.7.0.8 kept 01:fa", "duid 00:01:00:01")
    planned = lines(DHCP, LEASE, have=[running(DHCP, LEASE, leases=leases)])
    assert planned[0] == f"signal {DIRECTORY}/pid: TERM"
    assert written("leases", planned) == list(leases[1:])
    assert any(line.startswith("sh: nsenter") for line in planned)


def test_ipv6_lease_is_dropped_when_its_address_is_reserved_anew_for_another_mac():
    both = replace(DHCP, subnets=(SUBNET, SIX))
    leases = ("duid 00:01:00:01", "1 1040187409 fd00:6::5 old 00:02:ab:cd")
    before = running(both, LEASE, leases=leases)
    assert lines(both, LEASE, have=[before]) == []  # such a client does not say its MAC
    moved = replace(LEASE, mac_address="fa:16:3e:00:00:77")
    assert written("leases", lines(both, moved, have=[before])) == ["duid 00:01:00:01"]
    own = replace(before, leases=("1 2 fd00:6::5 new 00:03:00:01:fa:16:3e:00:00:77",))
    assert written("leases", lines(both, moved, have=[own])) == []


def test_dhcp_of_what_runs_as_wanted_is_left_alone():
    assert lines(DHCP, LEASE, have=[running(DHCP, LEASE)]) == []


def test_subnet_without_router_and_name_servers_says_so_lest_dnsmasq_names_itself():
    bare = DhcpSubnet("s1", "10.7.0.0/28", "10.7.0.2", None)
    planned = lines(replace(DHCP, subnets=(bare, replace(SIX, dns_nameservers=()))))
    assert written("options", planned) == ["tag:subnet-s1,option:dns-server", "tag:subnet-s1,option:router"]


def test_a_router_advertises_the_prefixes_of_its_interfaces_and_answers_no_client():
    prefixes = (AdvertisedPrefix("fd00:1::/64", "slaac", ("fd00::53",)), AdvertisedPrefix("fd00:2::/64", "dhcpv6-stateful"))
    quiet = RouterInterface("p1", N, "qr-1", ("10.7.0.1/24",))
    router = RouterState("r1", "qrouter-r1", (quiet, RouterInterface("p2", N, "qr-2", ("fd00:1::1/64",), 1400, prefixes)))
    (advertiser,) = Advertisers(RUN).want({router.key: router})[0].values()
    (action,) = advertiser.add()
    directory = "/run/naru/ra/r1"
    assert action.line == (
        f"mkdir -p {directory} && nsenter --net=/run/netns/qrouter-r1 dnsmasq --conf-file=/dev/null --user=root --group= --port=0 "
        f"--bind-dynamic --except-interface=lo --pid-file={directory}/pid --dhcp-leasefile={directory}/leases "
        f"--log-facility={directory}/log --quiet-dhcp6 --quiet-ra '--dhcp-ignore=tag:!known' --enable-ra --interface=qr-2 "
        "--ra-param=qr-2,mtu:1400,0 --dhcp-range=set:qr-2-0,fd00:1::,ra-only,64,86400s "
        "'--dhcp-option=tag:qr-2-0,option6:dns-server,[fd00::53]' --dhcp-range=set:qr-2-1,fd00:2::,static,64,86400s"
    )
    assert Advertisers(RUN).want({router.key: replace(router, interfaces=(quiet,))}) == ({}, [])
