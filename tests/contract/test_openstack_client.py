"""The network commands of the real `openstack` command. Each call takes a second, so what it did is looked at over plain HTTP."""

import pytest


@pytest.fixture(scope="module")
def answer(clients):
    """Runs a command as the administrator. -> its answer, from JSON."""
    return lambda command: clients.openstack(*command.split(), user="admin")


@pytest.fixture(scope="module")
def do(clients):
    """Runs a command that answers nothing."""

    def run(command):
        done = clients.try_openstack(*command.split(), user="admin")
        assert (done.returncode, done.stdout) == (0, ""), done.stderr

    return run


def test_a_network_a_subnet_and_a_port_from_create_to_delete(answer, do, admin):
    network = answer("network create --share --mtu 1400 --description green NET1")
    assert (network["name"], network["shared"], network["mtu"], network["description"]) == ("NET1", True, 1400, "green")
    pools = "--allocation-pool start=10.0.0.10,end=10.0.0.20 --allocation-pool start=10.0.0.30,end=10.0.0.40"
    subnet = answer(f"subnet create --network NET1 --subnet-range 10.0.0.0/24 {pools} --dns-nameserver 1.1.1.1 SUB1")
    assert subnet["gateway_ip"] == "10.0.0.1"
    assert subnet["allocation_pools"] == [{"start": "10.0.0.10", "end": "10.0.0.20"}, {"start": "10.0.0.30", "end": "10.0.0.40"}]
    assert subnet["dns_nameservers"] == ["1.1.1.1"]
    port = answer("port create --network NET1 --fixed-ip subnet=SUB1,ip-address=10.0.0.12 --disable P1")
    assert port["fixed_ips"] == [{"subnet_id": subnet["id"], "ip_address": "10.0.0.12"}]
    assert (port["admin_state_up"], port["status"]) == (False, "DOWN")

    assert answer("network list --name NET1") == [{"ID": network["id"], "Name": "NET1", "Subnets": [subnet["id"]]}]
    assert [row["ID"] for row in answer("port list --network NET1 --fixed-ip ip-address=10.0.0.12")] == [port["id"]]
    do("port set --name P2 --enable --fixed-ip subnet=SUB1,ip-address=10.0.0.13 P1")
    shown = answer("port show P2")
    assert (shown["admin_state_up"], {ip["ip_address"] for ip in shown["fixed_ips"]}) == (True, {"10.0.0.12", "10.0.0.13"})
    do("subnet unset --dns-nameserver 1.1.1.1 --allocation-pool start=10.0.0.30,end=10.0.0.40 SUB1")
    changed = admin.show("subnets", subnet["id"])
    assert (changed["dns_nameservers"], changed["allocation_pools"]) == ([], [{"start": "10.0.0.10", "end": "10.0.0.20"}])
    do("network set --no-share --description blue NET1")
    changed = admin.show("networks", network["id"])
    assert (changed["shared"], changed["description"], changed["mtu"]) == (False, "blue", 1400)

    do("port delete P2")
    do("network delete NET1")
    assert admin.list("ports") == admin.list("subnets") == admin.list("networks") == []


def test_what_an_operator_looks_at(answer, admin):
    network = admin.network(name="COUNTED")
    subnet = admin.subnet(network, "10.0.0.0/28")
    admin.port(network)
    assert [(row["Network Name"], row["Total IPs"], row["Used IPs"]) for row in answer("ip availability list")] == [("COUNTED", 13, 1)]
    assert answer("ip availability show COUNTED")["subnet_ip_availability"][0]["subnet_id"] == subnet["id"]
    assert answer("network agent list") == []
    assert {"net-mtu", "provider", "quotas"} <= {row["Alias"] for row in answer("extension list --network")}


def test_quotas_are_set_and_shown(answer, do):
    do("quota set --networks 7 --ports -1 demo")
    limits = {row["Resource"]: row["Limit"] for row in answer("quota show --network demo")}
    assert (limits["networks"], limits["ports"], limits["subnets"]) == (7, -1, 100)


def test_a_refusal_is_told_in_the_servers_words(clients):
    done = clients.try_openstack("network", "create", "--share", "mine")
    assert done.returncode == 1
    assert "(rule:create_network:shared) is disallowed by policy" in done.stderr
