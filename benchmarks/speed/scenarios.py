"""What is measured: one table."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from benchmarks.speed.clients import BOTH, FLOOR, OWN, REQUESTS
from benchmarks.speed.wire import FLOATS, Shape

#: What a process found, and what was asked of it, to the numbers of the tables.
Reader = Callable[[Mapping[str, Any], "Scenario"], float]


class Line(NamedTuple):
    """A line of the table that a scenario fills.

    Attributes:
        key: Unique among all lines.
        title: What it says.
        unit: The unit of its numbers.
        read: Takes the number from what a process found.
        compared: Whether a ratio to the floor says anything.
    """

    key: str
    title: str
    unit: str
    read: Reader
    compared: bool = True


class Scenario(NamedTuple):
    """One thing that every client does.

    Attributes:
        key: What ``--only`` looks at.
        how: ``import``, ``shot`` (a process from start to end), ``warm`` (a process that is
            kept), ``fresh`` (a process for each, after one small call).
        lines: The lines that it fills.
        dialect: The server.
        shape: What the server sends.
        measure: The function of the worker.
        order: What else the worker is told.
        clients: Who takes part; empty for all.
        long: It takes long, and varies little: three rounds at most. The developer's own
            check makes one, of this package alone.
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


def _times(name: str, factor: float) -> Reader:
    return lambda found, _: found[name] * factor


def _middle(name: str, factor: float) -> Reader:
    return lambda found, _: sorted(found[name])[len(found[name]) // 2] * factor


_WIRES = {"ollama": "NDJSON", "openai": "SSE"}
_SERVERS = {"ollama": "Ollama", "openai": "OpenAI"}


def _cold() -> List[Scenario]:
    lines = [
        Line("import.cpu", "`import`, CPU over bare Python", "ms", _times("cpu_s", 1e3)),
        Line("import.modules", "modules that it loads", "", _times("modules", 1)),
        Line("import.requests", "whether `requests` is one", "", _times("requests", 1), False),
    ]
    shots = [
        Scenario(
            f"shot.{dialect}",
            "shot",
            [
                Line(f"shot.{dialect}.cpu", f"one shot, {server}, CPU", "ms", _times("cpu_s", 1e3)),
                Line(
                    f"shot.{dialect}.peak",
                    f"one shot, {server}, peak memory",
                    "MiB",
                    _times("peak_kib", 1 / 1024),
                ),
            ],
            dialect,
        )
        for dialect, server in _SERVERS.items()
    ]
    return [Scenario("import", "import", lines), *shots]


def _calls() -> List[Scenario]:
    return [
        Scenario(
            f"call.{size}.{dialect}",
            "warm",
            [Line(f"call.{size}.{dialect}", f"{title}, {server}, CPU", "µs", _times("cpu_s", 1e6))],
            dialect,
            shape,
            "calls",
            order,
        )
        for size, title, shape, order in (
            ("small", "warm small chat", Shape("coalesced", 16, 6), {"prompt": 40, "repeat": 60}),
            (
                "50kb",
                "warm chat, 50 KB asked and answered",
                Shape("coalesced", 16, 3200),
                {"prompt": 51_200, "repeat": 30},
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
                    _times("cpu_s", 1e6),
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
            ("chunks", "coalesced, each its own chunk", 3000),
            ("tokens", "one write a token", 2000),
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
                f"{name} event, paced at 1 ms, CPU",
                "µs",
                _times("cpu_s", 1e6),
            ),
            Line(
                f"delay.later.{dialect}", f"later {name} events, p50", "µs", _middle("later_s", 1e6)
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
                    f"first {_WIRES[dialect]} event, p50",
                    "µs",
                    _middle("first_s", 1e6),
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
                    f"256 × 1024 embeddings, {form}, {_SERVERS[dialect]}, CPU",
                    "ms",
                    _times("cpu_s", 1e3),
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


def _threads() -> List[Scenario]:
    return [
        Scenario(
            f"threads.{dialect}",
            "warm",
            [
                Line(
                    f"threads.{dialect}.cpu",
                    f"32 threads, one client, 50 {_WIRES[dialect]} events, CPU a call",
                    "µs",
                    _times("cpu_s", 1e6),
                ),
                Line(
                    f"threads.{dialect}.opened",
                    "connections opened",
                    "",
                    _times("opened", 1),
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


#: Characters of an event, and how many events there are.
EVENT_SIZE = 6
GROWTH = (100, 10_000, 1_000_000)


def _growth() -> List[Scenario]:
    return [
        Scenario(
            f"growth.{dialect}.{count}",
            "fresh",
            [
                Line(
                    f"growth.{dialect}.{count}",
                    f"{_WIRES[dialect]} event of {count:,}, CPU",
                    "µs",
                    _times("cpu_s", 1e6),
                ),
                Line(
                    f"growth.{dialect}.{count}.peak",
                    "its memory at most, beside what was there",
                    "MiB",
                    _times("grown_kib", 1 / 1024),
                    False,
                ),
            ],
            dialect,
            Shape("coalesced", count, EVENT_SIZE),
            "stream",
            {"count": count, "repeat": max(1, 20_000 // count)},
            (FLOOR, REQUESTS, OWN),
            long=True,
        )
        for dialect in BOTH
        for count in GROWTH
    ]


#: Vectors of 1,024 floats that make about a mebibyte of text.
_A_MIB = 80
BODIES = (1, 4, 16, 64)


def _bodies() -> List[Scenario]:
    return [
        Scenario(
            f"body.{mib}",
            "fresh",
            [
                Line(f"body.{mib}.cpu", f"a body of {mib} MiB, CPU a MiB", "ms",
                     lambda found, scenario: found["cpu_s"] * 1e3 / _mib(scenario)),
                Line(f"body.{mib}.peak", "memory at most, in bodies", "×",
                     lambda found, scenario: found["grown_kib"] / 1024 / _mib(scenario)),
            ],
            "ollama",
            Shape(FLOATS, mib * _A_MIB, 1024),
            "embed",
            {"count": mib * _A_MIB, "repeat": max(1, 8 // mib), "packed": False},
            (FLOOR, REQUESTS, OWN, "ollama"),
            long=True,
        )
        for mib in BODIES
    ]  # fmt: skip


def _mib(scenario: Scenario) -> float:
    return scenario.shape.number / _A_MIB


SCENARIOS: List[Scenario] = [
    *_cold(),
    *_calls(),
    *_streams(),
    *_first(),
    *_vectors(),
    *_threads(),
    *_growth(),
    *_bodies(),
]
LINES: Dict[str, Line] = {line.key: line for each in SCENARIOS for line in each.lines}
