"""Run the rounds of a benchmark.

In each round, all clients run one after the other. So if the machine is busy for a while, this
slows all clients alike.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from benchmarks.speed import wire
from benchmarks.speed.clients import OWN, Client, python_of
from benchmarks.speed.commands import command
from benchmarks.speed.processes import Fixture, Worker, run_once
from benchmarks.speed.scenarios import Scenario

_SHOT = "from benchmarks.speed.cold import one_shot; one_shot()"
_WARM_UP = wire.Shape("coalesced", 4, 6)


class Results:
    """The numbers of all rounds, by line of the table and by client."""

    def __init__(self) -> None:
        self._rounds: Dict[str, Dict[str, List[float]]] = {}
        #: Versions by client and package.
        self.versions: Dict[str, Dict[str, str]] = {}
        #: Errors of the other clients, by the name of the client and the key of the scenario.
        self.failures: Dict[Tuple[str, str], str] = {}

    def add(self, line: str, client: str, number: float) -> None:
        """Add the number of one round."""
        self._rounds.setdefault(line, {}).setdefault(client, []).append(number)

    def clients(self, line: str) -> Sequence[str]:
        """Return the names of the clients that have a number in a line."""
        return list(self._rounds.get(line, ()))

    def median(self, line: str, client: str) -> Optional[float]:
        """Return the median of all rounds, or None if there is no number."""
        numbers = self._rounds.get(line, {}).get(client)
        return statistics.median(numbers) if numbers else None

    def ratio(self, line: str, client: str, other: str) -> Optional[float]:
        """Return the median of the ratios of two clients in each round; None if there is no ratio.

        The two numbers of a round were measured directly one after the other. So their ratio varies
        less than the ratio of the two medians does.
        """
        of = self._rounds.get(line, {})
        pairs = [(a, b) for a, b in zip(of.get(client, ()), of.get(other, ())) if b > 0]
        return statistics.median(a / b for a, b in pairs) if pairs else None


class Bench(contextlib.ExitStack):
    """The fixture server and the processes of the clients. The end of a `with` block ends them."""

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
        """Measure all scenarios in this many rounds, after a first round that does not count."""
        for number in range(-1, rounds):  # round -1 is a warm-up and is not counted
            for scenario in scenarios:
                if not scenario.long or 0 <= number < self._long_rounds:
                    self._run_clients(scenario, number)
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
        return self.results

    def _run_clients(self, scenario: Scenario, number: int) -> None:
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
                found = self._measure(scenario, client)
            except RuntimeError as error:
                if not client.is_peer:
                    raise
                # A failure of another client must not end the run: note it and go on.
                self.results.failures[client.name, scenario.key] = str(error)[:200]
                continue
            for line in scenario.lines if number >= 0 else ():
                self.results.add(line.key, client.name, line.read(found, scenario))

    def _measure(self, scenario: Scenario, client: Client) -> Mapping[str, Any]:
        if scenario.how == "import":
            return self._import(client)
        if scenario.how == "command":
            found = self._command(scenario, client)
        elif scenario.how == "shot":
            found = self._shot(scenario, client)
        else:
            found = self._measure_in_worker(scenario, client)
        check(scenario, client, found)
        return found

    def _import(self, client: Client) -> Mapping[str, Any]:
        python = self._pythons[client.name]
        bare = run_once(python, "pass").cpu_s
        cpu_s = run_once(python, f"import {', '.join(client.imports)}").cpu_s - bare
        if client.name not in self._modules:
            names = ", ".join(map(repr, client.imports))
            program = f"from benchmarks.speed.cold import count_modules; count_modules({names})"
            self._modules[client.name] = [int(word) for word in run_once(python, program).output]
        modules, requests = self._modules[client.name]
        return {"cpu_s": cpu_s, "modules": modules, "requests": requests}

    def _command(self, scenario: Scenario, client: Client) -> Mapping[str, Any]:
        url = self._fixture.url(scenario.shape)
        program, arguments, text, variables = command(scenario.measure, client.name, url)
        python = self._pythons[client.name]
        cost = run_once(python, program, arguments, text, dict(variables))
        # The last character is a line feed, which does not belong to the answer of the server.
        size = {"size": len(cost.text) - 1} if text else {}
        return {"cpu_s": cost.cpu_s, **size}

    def _shot(self, scenario: Scenario, client: Client) -> Mapping[str, Any]:
        arguments = [client.module, self._fixture.url(scenario.shape), scenario.dialect]
        cost = run_once(self._pythons[client.name], _SHOT, arguments)
        size, peak = map(int, cost.output)
        return {"cpu_s": cost.cpu_s, "size": size, "peak_kib": peak}

    def _measure_in_worker(self, scenario: Scenario, client: Client) -> Mapping[str, Any]:
        if scenario.how == "fresh":
            with self._start(client) as worker:
                warm_up = scenario._replace(shape=_WARM_UP._replace(cut=scenario.shape.cut))
                worker.measure(self._order(warm_up, client, {"count": _WARM_UP.number}))
                return worker.measure(self._order(scenario, client))
        if client.name not in self._workers:
            self._workers[client.name] = self.enter_context(self._start(client))
        before = self._fixture.connection_count()
        found = self._workers[client.name].measure(self._order(scenario, client))
        return {**found, "opened": self._fixture.connection_count() - before}

    def _start(self, client: Client) -> Worker:
        worker = Worker(client, self._pythons[client.name])
        self.results.versions[client.name] = worker.versions
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
    """Check that a client received the answer that the server sent.

    Raises:
        RuntimeError: The client received another answer; its speed means nothing then.
    """
    shape = scenario.shape
    if "size" in found and found["size"] != shape.number * shape.size:
        size = shape.number * shape.size
        raise RuntimeError(
            f"{client.name} received {found['size']} characters or values in {scenario.key}, "
            f"but the server sent {size}"
        )
    if "last" in found and abs(found["last"] - wire.last_value(shape)) > 1e-6:
        raise RuntimeError(f"{client.name} returned other vectors than were sent in {scenario.key}")


def pythons_of(clients: Sequence[Client], folder: Optional[Path]) -> Dict[str, Path]:
    """Return the Python of each client; without a folder, the running Python for all of them."""
    if folder is None:
        return {client.name: Path(sys.executable) for client in clients}
    return {client.name: python_of(client, folder) for client in clients}
