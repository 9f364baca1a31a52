"""Child processes of a worker: how they are started, reused, and ended.

A child is a fresh interpreter, never a fork: that would share sockets, and locks that threads hold.
It is killed together with whatever it has started, and dies with its worker.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from contextlib import suppress

from perdure.run.pipe import HEADER, MESSAGE_BYTES_MAX, Message, packed

KILL_SECONDS = 2.0
"""Between SIGTERM and SIGKILL."""
GONE_SECONDS = 1.0
"""A child whose pipe is at its end has so long to end itself, so that its own code is known."""
DRAIN_SECONDS = 0.2
"""What a child has sent is read for so long after its death, whoever else may hold its pipe."""
IDLE_MOST = 4
"""Children that are kept for the next tasks, to save them the imports."""


class Child:
    """One child process and the worker's end of its pipe."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.pid = process.pid
        self._process = process
        self._reader = reader
        self._writer = writer
        self._watching = asyncio.create_task(self._watch(), name="perdure child")

    @classmethod
    async def start(cls) -> Child:
        """Start an interpreter; OSError if the system has no room for one."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "perdure.run.isolated", str(theirs.fileno()),
                    str(os.getpid()), stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),), start_new_session=True,
                )  # fmt: skip
            # Nobody but this process holds `ours`: its death is the end of the child's pipe.
            reader, writer = await asyncio.open_unix_connection(sock=ours)
        except BaseException:
            ours.close()
            raise
        return cls(process, reader, writer)

    def send(self, message: Message) -> None:
        """Send a message; nothing happens if the child is gone, which `receive` tells."""
        if not self._writer.is_closing():
            self._writer.write(packed(message))

    async def receive(self) -> Message | None:
        """The next message; None: there will be no more."""
        try:
            (size,) = HEADER.unpack(await self._reader.readexactly(HEADER.size))
            if size > MESSAGE_BYTES_MAX:
                return None
            message = json.loads(await self._reader.readexactly(size))
        except (EOFError, OSError, ValueError):
            return None
        # What its handler has forked may write here, too, and anything.
        return message if isinstance(message, dict) and "what" in message else None

    def break_off(self) -> None:
        """SIGTERM, which the child sends to itself, now; SIGKILL if that does not end it in time.

        One from anybody else means nothing to it: a service manager may send one to each process
        of a worker, and only the worker knows what is to become of the run.
        """
        self.send({"what": "break"})
        asyncio.get_running_loop().call_later(KILL_SECONDS, self.kill)

    def kill(self) -> None:
        """SIGKILL, for all that it has started, too."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    async def gone(self) -> int:
        """Wait for its end, which is near; the exit code, a signal's number below zero."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GONE_SECONDS):
                await self._process.wait()
        self.kill()
        code = await self._process.wait()
        self._watching.cancel()
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()
        return code

    async def _watch(self) -> None:
        """Close the pipe after the child's death: a process that it has forked may hold it open."""
        await self._process.wait()
        await asyncio.sleep(DRAIN_SECONDS)
        self._writer.close()


class Children:
    """The child processes of one worker."""

    def __init__(self) -> None:
        self._all: set[Child] = set()
        self._idle: list[Child] = []
        self._closed = False

    async def take(self, *, fresh: bool) -> tuple[Child, bool]:
        """A child that runs nothing, and whether it has run something before; `fresh`: it has not.

        Raises:
            OSError: none can be started.
        """
        if self._idle and not fresh:
            return self._idle.pop(), True
        child = await Child.start()
        self._all.add(child)
        if self._closed:
            child.kill()
        return child, False

    async def keep(self, child: Child) -> None:
        """A run has ended well: the child may serve another one."""
        if self._closed or len(self._idle) >= IDLE_MOST:
            await self.drop(child)
        else:
            self._idle.append(child)

    async def drop(self, child: Child) -> None:
        """End a child that is of no use any more."""
        child.kill()
        await self.gone(child)

    async def gone(self, child: Child) -> int:
        """A child is ending by itself, or was killed: its exit code, as `Child.gone`."""
        code = await child.gone()
        self._all.discard(child)
        return code

    def kill(self) -> None:
        """Kill all of them, also those that run something; there will be no others."""
        self._closed = True
        for child in self._all:
            child.kill()

    async def close(self) -> None:
        """Kill all of them, and wait for their end."""
        self.kill()
        await asyncio.gather(*map(self.gone, self._all))
