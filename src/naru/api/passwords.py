"""Passwords, hashed and compared beside the event loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from naru.service import identity

_HASHING = ThreadPoolExecutor(2, "naru-scrypt")  # so many at a time: each takes 16 MiB and a core


async def fits(password: str, hashed: str | None) -> bool:
    """Takes as long for None, which nothing fits."""
    return await asyncio.get_running_loop().run_in_executor(_HASHING, identity.fits, password, hashed)


async def hash_password(password: str) -> str:
    return await asyncio.get_running_loop().run_in_executor(_HASHING, identity.hash_password, password)
