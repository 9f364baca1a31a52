"""The five faults: each strikes before a batch of the load, and is healed after it."""

from __future__ import annotations

import select
import signal
import time
from typing import ClassVar

from tests.faults.peers.adapter import POISON
from tests.faults.peers.scene import BATCHES, PATIENCE_SECONDS, Loss, Scene
from tests.kit.fleet import until

from perdure.embedded import EmbeddedServer

FROZEN_SECONDS = 5.0
AWAY_SECONDS = 1.0


class Fault:
    """One fault."""

    name: ClassVar[str]
    says: ClassVar[str]

    def strike(self, scene: Scene, batch: int) -> None:
        """Before this batch is enqueued."""

    def heal(self, scene: Scene) -> None:
        """After the last batch: whatever was broken is whole again."""


class Kill(Fault):
    """Processes that are gone from one moment to the next."""

    name = "kill"
    says = "SIGKILL of the busier worker, three times; the supervisor starts another"

    def strike(self, scene: Scene, batch: int) -> None:
        """Kill the one that has most to lose."""
        if batch in {12, 28, 44}:
            victim = scene.busiest()
            victim.kill()
            victim.wait()
            scene.losses.append(Loss(time.monotonic(), victim.pid))


class Zombie(Fault):
    """Processes that are taken for dead and are not."""

    name = "zombie"
    says = f"each worker in turn is frozen (SIGSTOP) for {FROZEN_SECONDS:g} s, then goes on"

    def strike(self, scene: Scene, batch: int) -> None:
        """Freeze one, let it go on, freeze the other."""
        if scene.losses and time.monotonic() >= scene.losses[-1].at + FROZEN_SECONDS:
            self.heal(scene)
        if batch not in {5, 45}:
            return
        self.heal(scene)
        victim = scene.busiest()
        victim.send_signal(signal.SIGSTOP)
        scene.frozen[victim.pid] = victim
        scene.losses.append(Loss(time.monotonic(), victim.pid))

    def heal(self, scene: Scene) -> None:
        """Let the one that was frozen last go on when its time is over."""
        if scene.losses:
            frozen = scene.losses[-1]
            select.select([], [], [], max(0.0, frozen.at + FROZEN_SECONDS - time.monotonic()))
            scene.frozen[frozen.pid or 0].send_signal(signal.SIGCONT)


class Crash(Fault):
    """A server that loses every session, and is away for a moment."""

    name = "restart"
    says = f"PostgreSQL crashes (immediate) and is away for {AWAY_SECONDS:g} s"

    def strike(self, scene: Scene, batch: int) -> None:
        """Crash it in the middle of the load."""
        if batch != 20:
            return
        scene.before = [each.pid for each in scene.workers.alive]
        scene.busiest()
        scene.losses.append(Loss(time.monotonic()))
        assert isinstance(scene.server, EmbeddedServer), "a given server is not crashed"
        scene.server._end("immediate")
        select.select([], [], [], AWAY_SECONDS)
        scene.server.start()
        scene.answered = time.monotonic()


class Cut(Fault):
    """Ends of tasks that were committed, and nobody was told."""

    name = "cut"
    says = "the reply to the COMMIT that ends a task is dropped with its connection, five times"

    def strike(self, scene: Scene, batch: int) -> None:
        """Drop the next such reply."""
        if batch in range(10, BATCHES, 10):
            scene.cutter.cut_next()

    def heal(self, scene: Scene) -> None:
        """Note when it happened, all of them."""
        until(lambda: scene.cutter.due == 0, PATIENCE_SECONDS)
        scene.losses += [Loss(at) for at in scene.cutter.times]


class Poison(Fault):
    """A task that nobody survives."""

    name = "poison"
    says = "one task kills its process whenever it runs; ten restarts of workers in all"

    def strike(self, scene: Scene, batch: int) -> None:
        """One such task among the others."""
        if batch == 10:
            scene.enqueue({POISON: 1}, "poison")


_ALL = (Kill(), Zombie(), Crash(), Cut(), Poison())
FAULTS: dict[str, Fault] = {each.name: each for each in _ALL}
