"""How a process of ours is asked to end."""

import asyncio
import signal


def stop_on_signal() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set. Call on the running event loop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
