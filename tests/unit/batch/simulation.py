"""A discrete-event simulation of servers, with a fake clock, for the tests of the window."""

from __future__ import annotations

import heapq
import random
from typing import Callable, Dict, List, Optional, Tuple

from localproviders.batch.window import BUSY, DELIVERED, LOST, Ended, Windows


class Server:
    """A server with slots.

    Args:
        slots: Number of requests that it works on at once. Further requests wait.
        service_s: Mean seconds of a request.
        gain: How much more all slots together deliver than one slot, as an exponent: with 1 the
            slots do not slow each other down.
        queue: Number of waiting requests after which it refuses further ones.
        dies_at: Time from which it refuses all connections.
    """

    def __init__(
        self,
        slots: int,
        service_s: float = 1.0,
        *,
        queue: int = 10_000,
        dies_at: float = float("inf"),
    ) -> None:
        self.slots, self.service_s, self.queue, self.dies_at = slots, service_s, queue, dies_at
        self.waiting: List[Tuple[float, int]] = []
        self.busy = 0


class Simulation:
    """Requests of one batch to some servers. The least busy server gets the next request."""

    def __init__(self, servers: Dict[str, Server], windows: Windows, rows: int, seed: int) -> None:
        self.servers, self.windows, self.rows = servers, windows, rows
        self.now = 0.0
        self.random = random.Random(seed)
        self.events: List[Tuple[float, int, Callable[[], None]]] = []
        self.count = self.done = self.in_flight = self.sent = self.lost = 0
        self.started: Dict[int, float] = {}
        self.numbers: Dict[int, Dict[str, int]] = {}
        self.host: Dict[int, str] = {}
        self.load: Dict[str, int] = dict.fromkeys(servers, 0)

    def at(self, time: float, work: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.events, (time, self.count, work))

    def run(self) -> float:
        self.fill()
        while self.done < self.rows:
            self.now, _, work = heapq.heappop(self.events)
            work()
            self.fill()
        return self.now

    def fill(self) -> None:
        while self.in_flight < self.windows.size and self.done + self.in_flight < self.rows:
            self.sent += 1
            self.send(self.sent)

    def send(self, number: int) -> None:
        self.in_flight += 1
        self.started[number] = self.now
        self.numbers[number] = self.windows.start()
        alive = [name for name, each in self.servers.items() if self.now < each.dies_at]
        name = min(alive, key=lambda each: self.load[each] / self.servers[each].slots)
        server = self.servers[name]
        self.host[number] = name
        self.load[name] += 1
        if len(server.waiting) >= server.queue:
            self.at(self.now + 0.01, lambda: self.end(number, BUSY, None))
        elif server.busy < server.slots:
            self.serve(server, number)
        else:
            server.waiting.append((self.now, number))

    def serve(self, server: Server, number: int) -> None:
        server.busy += 1
        begun = self.now
        end = begun + server.service_s * self.random.uniform(0.7, 1.3)

        def finish() -> None:
            server.busy -= 1
            if self.now > server.dies_at:
                self.end(number, LOST, None)
            else:
                self.end(number, DELIVERED, begun - self.started[number] + 0.1 * server.service_s)
            while server.waiting and server.busy < server.slots:
                self.serve(server, server.waiting.pop(0)[1])

        self.at(
            min(end, max(server.dies_at + 1e-3, begun)) if end > server.dies_at else end, finish
        )

    def end(self, number: int, outcome: str, first_s: Optional[float]) -> None:
        self.in_flight -= 1
        name = self.host.pop(number)
        self.load[name] -= 1
        elapsed = self.now - self.started.pop(number)
        ended = Ended(0, outcome, elapsed, 20, first_s)
        self.windows.end(name, self.numbers.pop(number), ended)
        if outcome == DELIVERED:
            self.done += 1
        else:
            self.lost += 1


def seconds(
    make: Callable[[], Dict[str, Server]], fixed: Optional[int], rows: int, seed: int
) -> float:
    return Simulation(make(), Windows(fixed, {}), rows, seed).run()
