"""Round after round, each client in its turn: whatever else the machine does hits all alike."""

from __future__ import annotations

import contextlib
import statistics
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from benchmarks.speed import wire
from benchmarks.speed.clients import OWN, Client, python_of
from benchmarks.speed.processes import Fixture, Worker, run_once
from benchmarks.speed.scenarios import Scenario

_SHOT = "from benchmarks.speed.cold import one_shot; one_shot()"
_WARMING = wire.Shape("coalesced", 4, 6)


class Results:
    """The numbers of all rounds: of each line, of each client."""

    def __init__(self) -> None:
        self._rounds: Dict[str, Dict[str, List[float]]] = {}
        #: What runs where: client, package, version.
        self.versions: Dict[str, Dict[str, str]] = {}
        #: What a peer could not do, by its name and the scenario's.
        self.failures: Dict[Tuple[str, str], str] = {}

    def add(self, line: str, client: str, number: float) -> None:
        """Note the number of a round."""
        self._rounds.setdefault(line, {}).setdefault(client, []).append(number)

    def clients(self, line: str) -> Sequence[str]:
        """Give who has a number in a line."""
        return list(self._rounds.get(line, ()))

    def median(self, line: str, client: str) -> Optional[float]:
        """Give the median of all rounds; None without one."""
        numbers = self._rounds.get(line, {}).get(client)
        return statistics.median(numbers) if numbers else None

    def ratio(self, line: str, client: str, other: str) -> Optional[float]:
        """Give the median of what each round's two numbers make.

        They were measured right after each other, so this varies less than the medians do.
        """
        of = self._rounds.get(line, {})
        pairs = [(a, b) for a, b in zip(of.get(client, ()), of.get(other, ())) if b > 0]
        return statistics.median(a / b for a, b in pairs) if pairs else None


class Bench(contextlib.ExitStack):
    """The fixture server and the clients' processes; all end with the block."""

    def __init__(
        self, clients: Sequence[Client], pythons: Mapping[str, Path], full: bool = False
    ) -> None:
        super().__init__()
        self.clients = clients
        self._full = full
        self._long_rounds = 3 if full else 1
        self._pythons = pythons
        self._fixture = self.enter_context(Fixture())
        self._workers: Dict[str, Worker] = {}
        self._modules: Dict[str, List[int]] = {}
        self.results = Results()

    def run(self, scenarios: Sequence[Scenario], rounds: int) -> Results:
        """Measure everything, so many times."""
        for number in range(-1, rounds):  # the first is to warm up: nothing of it counts
            for scenario in scenarios:
                if not scenario.long or 0 <= number < self._long_rounds:
                    self._turn(scenario, number)
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
        return self.results

    def _turn(self, scenario: Scenario, number: int) -> None:
        for client in self.clients:
            if number >= client.rounds:
                continue
            if scenario.clients and client.name not in scenario.clients:
                continue
            if scenario.long and not self._full and client.name != OWN:
                continue
            if scenario.how != "import" and scenario.dialect not in client.dialects:
                continue
            try:
                found = self._measured(scenario, client)
            except RuntimeError as error:
                if not client.is_peer:
                    raise
                # What another client cannot do is no reason to measure nothing.
                self.results.failures[client.name, scenario.key] = str(error)[:200]
                continue
            for line in scenario.lines if number >= 0 else ():
                self.results.add(line.key, client.name, line.read(found, scenario))

    def _measured(self, scenario: Scenario, client: Client) -> Mapping[str, Any]:
        if scenario.how == "import":
            return self._import(client)
        found = self._shot(scenario, client) if scenario.how == "shot" else self._ask(
            scenario, client
        )  # fmt: skip
        check(scenario, client, found)
        return found

    def _import(self, client: Client) -> Mapping[str, Any]:
        python = self._pythons[client.name]
        bare = run_once(python, "pass").cpu_s
        cpu_s = run_once(python, f"import {', '.join(client.imports)}").cpu_s - bare
        if client.name not in self._modules:
            names = ", ".join(map(repr, client.imports))
            program = f"from benchmarks.speed.cold import weigh; weigh({names})"
            self._modules[client.name] = [int(word) for word in run_once(python, program).said]
        modules, requests = self._modules[client.name]
        return {"cpu_s": cpu_s, "modules": modules, "requests": requests}

    def _shot(self, scenario: Scenario, client: Client) -> Mapping[str, Any]:
        words = [client.module, self._fixture.url(scenario.shape), scenario.dialect]
        cost = run_once(self._pythons[client.name], _SHOT, words)
        size, peak = map(int, cost.said)
        return {"cpu_s": cost.cpu_s, "size": size, "peak_kib": peak}

    def _ask(self, scenario: Scenario, client: Client) -> Mapping[str, Any]:
        if scenario.how == "fresh":
            with self._start(client) as worker:
                warming = scenario._replace(shape=_WARMING._replace(cut=scenario.shape.cut))
                worker.ask(self._order(warming, client, {"count": _WARMING.number}))
                return worker.ask(self._order(scenario, client))
        if client.name not in self._workers:
            self._workers[client.name] = self.enter_context(self._start(client))
        before = self._fixture.opened()
        found = self._workers[client.name].ask(self._order(scenario, client))
        return {**found, "opened": self._fixture.opened() - before}

    def _start(self, client: Client) -> Worker:
        worker = Worker(client, self._pythons[client.name])
        self.results.versions[client.name] = worker.about
        return worker

    def _order(
        self, scenario: Scenario, client: Client, changed: Mapping[str, Any] = {}
    ) -> Dict[str, Any]:
        return {
            "measure": scenario.measure,
            "dialect": scenario.dialect,
            "url": self._fixture.url(scenario.shape),
            **scenario.order,
            "repeat": max(1, int(scenario.order["repeat"] * client.share)),
            **changed,
        }


def check(scenario: Scenario, client: Client, found: Mapping[str, Any]) -> None:
    """Look at what came: a fast wrong answer is worth nothing.

    Raises:
        RuntimeError: It is not what was sent.
    """
    shape = scenario.shape
    if "size" in found and found["size"] != shape.number * shape.size:
        raise RuntimeError(f"{client.name} lost something of {scenario.key}: {found['size']}")
    if "last" in found and abs(found["last"] - wire.last_value(shape)) > 1e-6:
        raise RuntimeError(f"{client.name} gives other numbers in {scenario.key}")


def pythons_of(clients: Sequence[Client], folder: Optional[Path]) -> Dict[str, Path]:
    """Give the Python of each client; without a folder, this very one."""
    if folder is None:
        return {client.name: Path(sys.executable) for client in clients}
    return {client.name: python_of(client, folder) for client in clients}
