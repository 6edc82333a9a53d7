"""Prints which TCP ports of an address take a connection, one a line. Silence counts as closed."""

import asyncio
import sys

AT_ONCE = 2_000
SECONDS_MAX = 3


async def main(address):
    """Tries each port; a second time what did not answer, for a packet may get lost."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def takes(port):
        for _ in range(2):
            async with gate:
                try:
                    async with asyncio.timeout(SECONDS_MAX):
                        _, writer = await asyncio.open_connection(address, port)
                    writer.close()
                    return port
                except (OSError, TimeoutError):
                    pass
        return None

    found = await asyncio.gather(*map(takes, range(1, 65_536)))
    print(*filter(None, found), sep="\n")


asyncio.run(main(sys.argv[1]))
