"""What makes the agent look, and what does not."""

import asyncio
import time

from naru.agent.wake import Wake, Why


def test_what_a_pass_changed_itself_is_no_reason_to_look_at_once_but_to_look_once_more(tmp_path):
    async def scenario() -> None:
        wake = Wake(tmp_path / "wake")
        try:
            wake.note(Why.KERNEL)  # told while the pass ran
            assert wake.ignore_own_changes()
            began_s = time.monotonic()
            assert await wake.wait(0.1) == Why.NOTHING
            assert time.monotonic() - began_s > 0.09
            assert not wake.ignore_own_changes()
        finally:
            wake.close()

    asyncio.run(scenario())


def test_what_was_asked_for_while_a_pass_ran_is_looked_at_at_once(tmp_path):
    async def scenario() -> None:
        wake = Wake(tmp_path / "wake")
        try:
            wake.note(Why.FEED | Why.KERNEL)
            wake.ignore_own_changes()
            assert await wake.wait(5) == Why.FEED
        finally:
            wake.close()

    asyncio.run(scenario())
