"""What is made once and kept, and what is looked for until it is gone."""

from naru.drivers.leftovers import Leftovers
from naru.drivers.made import Made
from naru.testing import FakeDriver


def test_what_each_pass_asks_for_is_made_once_and_forgotten_after_a_pass_without_it():
    asked = []

    def square(number: int) -> int:
        asked.append(number)
        return number * number

    made = Made()
    for numbers in ((2, 3), (2, 3, 2), (3,), (2, 3)):
        made.begin_pass()
        assert [made.of(square, number) for number in numbers] == [number * number for number in numbers]
    assert asked == [2, 3, 2]


def test_leftovers_are_looked_for_until_none_are_left_however_long_their_tool_does_not_work():
    host = FakeDriver("openvswitch")
    looked = []

    def read():
        looked.append(host.down)
        return host.read()

    host.facts, _ = host.want({"openvswitch/1": "a bridge"})
    left = Leftovers("openvswitch", read, host.apply)
    host.down = "its daemon does not run"
    assert left.read() == {}
    host.down = ""
    assert left.read() == host.facts
    host.facts = {}
    assert [left.read(), left.read(), left.read()] == [{}, {}, {}]
    assert looked == ["its daemon does not run", "", ""]
