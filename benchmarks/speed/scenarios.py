"""The scenarios that are measured, and the lines of the table that they fill."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from benchmarks.speed.clients import BASELINE, BOTH, OWN, REQUESTS
from benchmarks.speed.wire import FLOATS, Shape

#: A function that computes a number of the table from the result of a process.
Reader = Callable[[Mapping[str, Any], "Scenario"], float]


class Line(NamedTuple):
    """A line of the table that a scenario fills.

    Attributes:
        key: A key that no other line has.
        title: The title in the table.
        unit: The unit of its numbers.
        read: Compute the number from the result of a process.
        compared: Whether the table shows the ratio to the baseline.
    """

    key: str
    title: str
    unit: str
    read: Reader
    compared: bool = True


class Scenario(NamedTuple):
    """A task that each client does in each round.

    Attributes:
        key: The name that ``--only`` searches.
        how: The kind of process: ``import`` (a process that only imports the client), ``shot``
            (a process that makes one call), ``command`` (a command of the shell), ``warm`` (a
            process that serves all rounds), or ``fresh`` (a new process for each measurement,
            after one small call).
        lines: The lines of the table that it fills.
        dialect: The API of the server: ``ollama`` or ``openai``.
        shape: The shape of the server's answers.
        measure: The name of the function in ``worker.py``, or of the command in ``commands.py``.
        order: More fields of the JSON object that tells the worker what to measure.
        clients: The names of the clients that take part; empty means all.
        long: Whether the scenario takes long and varies little. It then runs in three rounds at
            most. Without ``--peers``, it runs in one round and only for this package.
    """

    key: str
    how: str
    lines: Sequence[Line]
    dialect: str = "ollama"
    shape: Shape = Shape("coalesced", 16, 6)
    measure: str = ""
    order: Mapping[str, Any] = {}
    clients: Tuple[str, ...] = ()
    long: bool = False


def _scaled(name: str, factor: float) -> Reader:
    return lambda found, _: found[name] * factor


def _median_of(name: str, factor: float) -> Reader:
    return lambda found, _: sorted(found[name])[len(found[name]) // 2] * factor


_WIRES = {"ollama": "NDJSON", "openai": "SSE"}
_SERVERS = {"ollama": "Ollama", "openai": "OpenAI"}


def _cold() -> List[Scenario]:
    lines = [
        Line("import.cpu", "`import`, CPU above bare Python", "ms", _scaled("cpu_s", 1e3)),
        Line("import.modules", "modules that the import loads", "", _scaled("modules", 1)),
        Line(
            "import.requests",
            "`requests` loaded by the import (1 = yes)",
            "",
            _scaled("requests", 1),
            False,
        ),
    ]
    shots = [
        Scenario(
            f"shot.{dialect}",
            "shot",
            [
                Line(
                    f"shot.{dialect}.cpu",
                    f"one-shot script, {server}, CPU",
                    "ms",
                    _scaled("cpu_s", 1e3),
                ),
                Line(
                    f"shot.{dialect}.peak",
                    f"one-shot script, {server}, peak memory",
                    "MiB",
                    _scaled("peak_kib", 1 / 1024),
                ),
            ],
            dialect,
        )
        for dialect, server in _SERVERS.items()
    ]
    return [Scenario("import", "import", lines), *shots]


def _commands() -> List[Scenario]:
    return [
        Scenario(
            f"command.{name}",
            "command",
            [Line(f"command.{name}", f"`{title}`, CPU", "ms", _scaled("cpu_s", 1e3), is_compared)],
            measure=name,
            clients=(other, OWN),
        )
        for name, title, other, is_compared in (
            ("version", "localproviders --version", BASELINE, True),
            ("chat", "localproviders chat", REQUESTS, False),
        )
    ]


# Text with a few accents, as in French.
_ACCENTS = "The café has a menu for every day of the whole week. "


def _calls() -> List[Scenario]:
    return [
        Scenario(
            f"call.{size}.{dialect}",
            "warm",
            [
                Line(
                    f"call.{size}.{dialect}", f"{title}, {server}, CPU", "µs", _scaled("cpu_s", 1e6)
                )
            ],
            dialect,
            shape,
            "calls",
            order,
        )
        for size, title, shape, order in (
            ("small", "short warm chat", Shape("coalesced", 16, 6), {"prompt": 40, "repeat": 60}),
            (
                "50kb",
                "warm chat, prompt and answer of 50 KB",
                Shape("coalesced", 16, 3200),
                {"prompt": 51_200, "repeat": 30},
            ),
            (
                "accents",
                "warm chat, prompt of 50 KB with accents",
                Shape("coalesced", 16, 6),
                {"prompt": 51_200, "repeat": 30, "letters": _ACCENTS},
            ),
        )
        for dialect, server in _SERVERS.items()
    ]


def _streams() -> List[Scenario]:
    return [
        Scenario(
            f"stream.{cut}.{dialect}",
            "warm",
            [
                Line(
                    f"stream.{cut}.{dialect}",
                    f"{_WIRES[dialect]} event, {title}, CPU",
                    "µs",
                    _scaled("cpu_s", 1e6),
                )
            ],
            dialect,
            Shape(cut, count, 6),
            "stream",
            {"count": count, "repeat": 2},
        )
        for dialect in BOTH
        for cut, title, count in (
            ("coalesced", "coalesced", 4000),
            ("chunks", "coalesced, one chunk per event", 3000),
            ("tokens", "one write per event", 2000),
        )
    ] + [_paced(dialect) for dialect in BOTH]


def _paced(dialect: str) -> Scenario:
    name = _WIRES[dialect]
    return Scenario(
        f"stream.paced.{dialect}",
        "warm",
        [
            Line(
                f"stream.paced.{dialect}",
                f"{name} event, sent 1 ms apart, CPU",
                "µs",
                _scaled("cpu_s", 1e6),
            ),
            Line(
                f"delay.later.{dialect}",
                f"later {name} events, median delay",
                "µs",
                _median_of("later_s", 1e6),
            ),
        ],
        dialect,
        Shape("paced", 200, 6),
        "delays",
        {"repeat": 1},
    )


def _first() -> List[Scenario]:
    return [
        Scenario(
            f"delay.first.{dialect}",
            "warm",
            [
                Line(
                    f"delay.first.{dialect}",
                    f"first {_WIRES[dialect]} event, median delay",
                    "µs",
                    _median_of("first_s", 1e6),
                )
            ],
            dialect,
            Shape("paced", 3, 6),
            "delays",
            {"repeat": 40},
        )
        for dialect in BOTH
    ]


def _vectors() -> List[Scenario]:
    return [
        Scenario(
            f"embed.{form}.{dialect}",
            "warm",
            [
                Line(
                    f"embed.{form}.{dialect}",
                    f"256 embeddings of 1,024 numbers as {form}, {_SERVERS[dialect]}, CPU",
                    "ms",
                    _scaled("cpu_s", 1e3),
                ),
            ],
            dialect,
            Shape(cut, 256, 1024),
            "embed",
            {"count": 256, "repeat": 2, "packed": form == "base64"},
        )
        for form, dialect, cut in (
            ("floats", "ollama", FLOATS),
            ("floats", "openai", FLOATS),
            ("base64", "openai", "coalesced"),
        )
    ]


#: The methods of a decision, each with its name in the titles of the table.
DECIDED_BY = {"systemone": "/v1/systemone", "logprobs": "log-probabilities"}


def _decisions() -> List[Scenario]:
    shape = Shape("coalesced", 1, 1)
    found = []
    for method, by in DECIDED_BY.items():
        order = {"state": "I was charged twice.", "method": method}
        one, line = f"decide.one.{method}", f"decide.thousand.{method}"
        titles = {"single": "in calls of `decide`", "many": "in `decide_many`"}
        found += [
            Scenario(
                one,
                "warm",
                [Line(one, f"warm `decide` by {by}, CPU", "µs", _scaled("cpu_s", 1e6))],
                "openai",
                shape,
                "decisions",
                {**order, "repeat": 100},
                (BASELINE, REQUESTS, OWN),
            ),
            Scenario(
                line,
                "warm",
                [
                    *(
                        Line(
                            f"{line}.{how}",
                            f"state of a thousand {title} by {by}, CPU",
                            "µs",
                            _scaled(f"{how}_s", 1e6),
                            False,
                        )
                        for how, title in titles.items()
                    ),
                    Line(
                        f"{line}.ratio",
                        "the second of these ÷ the first, median of 20 turns",
                        "",
                        _scaled("ratio", 1),
                        False,
                    ),
                ],
                "openai",
                shape,
                "many_decisions",
                {**order, "repeat": 1000, "turns": 20},
                (OWN,),
            ),
        ]
    return found


def _threads() -> List[Scenario]:
    return [
        Scenario(
            f"threads.{dialect}",
            "warm",
            [
                Line(
                    f"threads.{dialect}.cpu",
                    f"32 threads, chat of 50 {_WIRES[dialect]} events, CPU per chat",
                    "µs",
                    _scaled("cpu_s", 1e6),
                ),
                Line(
                    f"threads.{dialect}.opened",
                    "32 threads, connections opened",
                    "",
                    _scaled("opened", 1),
                    False,
                ),
            ],
            dialect,
            Shape("tokens", 50, 6),
            "threads",
            {"threads": 32, "repeat": 5},
        )
        for dialect in BOTH
    ]


#: Characters of an event.
EVENT_SIZE = 6
#: Numbers of events in the streams that show how the cost grows with the length of a stream.
GROWTH = (100, 10_000, 1_000_000)


def _growth() -> List[Scenario]:
    return [
        Scenario(
            f"growth.{dialect}.{count}",
            "fresh",
            [
                Line(
                    f"growth.{dialect}.{count}",
                    f"{_WIRES[dialect]} event in a stream of {count:,}, CPU",
                    "µs",
                    _scaled("cpu_s", 1e6),
                ),
                Line(
                    f"growth.{dialect}.{count}.peak",
                    "memory growth during that stream",
                    "MiB",
                    _scaled("grown_kib", 1 / 1024),
                    False,
                ),
            ],
            dialect,
            Shape("coalesced", count, EVENT_SIZE),
            "stream",
            {"count": count, "repeat": max(1, 20_000 // count)},
            (BASELINE, REQUESTS, OWN),
            long=True,
        )
        for dialect in BOTH
        for count in GROWTH
    ]


#: This many vectors of 1,024 floats make about one MiB of JSON.
_VECTORS_PER_MIB = 80
#: Sizes of response bodies in MiB.
BODIES = (1, 4, 16, 64)


def _bodies() -> List[Scenario]:
    return [
        Scenario(
            f"body.{mib}",
            "fresh",
            [
                Line(f"body.{mib}.cpu", f"{mib} MiB response, CPU per MiB", "ms",
                     lambda found, scenario: found["cpu_s"] * 1e3 / _mib(scenario)),
                Line(f"body.{mib}.peak", "memory growth, × the response body", "",
                     lambda found, scenario: found["grown_kib"] / 1024 / _mib(scenario)),
            ],
            "ollama",
            Shape(FLOATS, mib * _VECTORS_PER_MIB, 1024),
            "embed",
            {"count": mib * _VECTORS_PER_MIB, "repeat": max(1, 8 // mib), "packed": False},
            (BASELINE, REQUESTS, OWN, "ollama"),
            long=True,
        )
        for mib in BODIES
    ]  # fmt: skip


def _mib(scenario: Scenario) -> float:
    return scenario.shape.number / _VECTORS_PER_MIB


SCENARIOS: List[Scenario] = [
    *_cold(),
    *_commands(),
    *_calls(),
    *_streams(),
    *_first(),
    *_vectors(),
    *_decisions(),
    *_threads(),
    *_growth(),
    *_bodies(),
]
LINES: Dict[str, Line] = {line.key: line for each in SCENARIOS for line in each.lines}
