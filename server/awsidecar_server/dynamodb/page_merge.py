"""Pages of several readers in one stream, each reader a page ahead, all of them within one quota of items."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from itertools import islice

from google.protobuf.message import Message

from awsidecar_server.dynamodb.page_reader import Page, PageReader

# Readers that read at a time. Each holds up to one page (1 MB of items) until the caller takes it.
AT_A_TIME = 16
# Of the requests of all readers that read at a time: each is held as a message and as what is sent, and they may all be
# written in one step of the event loop.
_REQUEST_BYTES = 512 * 1024


def side_by_side(request_bytes: int) -> int:
    """How many readers may read at a time whose requests have so many bytes; always one, however large."""
    return max(1, min(AT_A_TIME, _REQUEST_BYTES // max(1, request_bytes)))


class Quota:
    """The items that a stream may still bring. Whoever reads a page takes a share, and gives back what was left."""

    def __init__(self, items: int | None) -> None:
        self._left = items
        self._taken = 0

    @property
    def is_spent(self) -> bool:
        """Whether there is nothing to take; it may become more as long as somebody reads."""
        return self._left == 0

    def take(self, readers: int) -> int | None:
        """An even share for one of so many readers, at least 1; None: as much as there is."""
        if self._left is None:
            return None
        share = min(self._left, max(1, (self._left + self._taken) // readers))
        self._left -= share
        self._taken += share
        return share

    def give_back(self, share: int | None, used: int) -> None:
        """Ends a share, of which so many items were brought."""
        if self._left is not None and share is not None:
            self._taken -= share
            self._left += max(0, share - used)


class Merge:
    """Gives the pages of its readers in the order in which AWS answers.

    A reader reads its next page while the caller has the one before, and waits with it. So each has its turn, and
    there are no more pages than readers at a time, and the one that the caller has.
    """

    def __init__(self, readers: Iterable[PageReader], quota: Quota, at_a_time: int = 1) -> None:
        """`at_a_time` says how many readers read side by side; the others begin as these end."""
        self._to_begin = iter(readers)
        self._quota = quota
        # Those between two pages, longest waiting first.
        self._waiting = deque(islice(self._to_begin, at_a_time))
        # Those that read, or have read, with their shares; in the order in which they began.
        self._reading: dict[asyncio.Task[Page], tuple[PageReader, int | None]] = {}

    async def responses(self) -> AsyncGenerator[Message | bytes, None]:
        """Yields each page, written. A failure ends it, after the pages that had been read before."""
        try:
            self._begin()
            while self._reading:
                await asyncio.wait(self._reading, return_when=asyncio.FIRST_COMPLETED)
                response = self._taken()
                self._begin()
                yield response
        finally:
            await self._stop()

    def _taken(self) -> bytes:
        read = [task for task in self._reading if task.done()]
        task = next((task for task in read if task.exception() is None), read[0])
        page = task.result()
        reader, share = self._reading.pop(task)
        self._quota.give_back(share, page.count)
        follower = reader if page.end is not None else next(self._to_begin, None)
        if follower is not None:
            self._waiting.append(follower)
        return page.response

    def _begin(self) -> None:
        """Lets all read that wait, as far as the quota goes; nobody any more after a failure."""
        if any(task.done() and task.exception() is not None for task in self._reading):
            return
        while self._waiting and not self._quota.is_spent:
            share = self._quota.take(len(self._waiting) + len(self._reading))
            reader = self._waiting.popleft()
            self._reading[asyncio.ensure_future(reader.next(share))] = reader, share

    async def _stop(self) -> None:
        for task in self._reading:
            task.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)
