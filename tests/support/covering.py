"""A fixed selection of test cases for the usual run: the other cases are slow."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import Any, Callable, Dict, Hashable, Iterable, List, Sequence, Set, Tuple

import pytest

Case = Tuple[str, ...]

#: Returns the features of a case. The chosen cases together must have every feature.
Features = Callable[[Case], Iterable[Hashable]]


def choose_cases(cases: Sequence[Case], features: Features) -> Set[Case]:
    """Choose cases until the chosen ones together have every feature of all cases.

    The cases are grouped by their first word. Within a group, the next case is the one with the
    most features that are still missing. Among equal cases it is the one whose other words were
    chosen least often together, which spreads the selection evenly.
    """
    features_of = {case: frozenset(features(case)) for case in cases}
    missing: Set[Hashable] = set().union(*features_of.values())
    times_chosen: Counter[Case] = Counter()
    chosen: Set[Case] = set()
    groups: Dict[str, List[Case]] = {}
    for case in cases:
        groups.setdefault(case[0], []).append(case)
    for group in groups.values():
        while True:
            best = max(
                group, key=lambda case: (len(features_of[case] & missing), -times_chosen[case[1:]])
            )
            if not features_of[best] & missing:
                break
            chosen.add(best)
            missing -= features_of[best]
            times_chosen[best[1:]] += 1
    return chosen


def mark_slow(cases: Sequence[Case], features: Features) -> List[Any]:
    """Mark each case as ``slow`` that `choose_cases` does not choose."""
    chosen = choose_cases(cases, features)
    return [pytest.param(*case, marks=() if case in chosen else pytest.mark.slow) for case in cases]


def in_usual_run(cases: Iterable[Any], chosen: Callable[[Any], bool]) -> List[Any]:
    """Mark each case as ``slow``, except those for which ``chosen`` returns True."""
    return [pytest.param(case, marks=() if chosen(case) else pytest.mark.slow) for case in cases]


def sample(items: Iterable[pytest.Item]) -> None:
    """Mark cases of tests with the mark ``sample`` as ``slow``, except the number that it names.

    Those in ``tests/unit`` are marked as ``oldest``, too: the oldest Python runs them. The choice is random,
    but the same in each run, so that it does not follow the order of the parameters.
    """
    tests: Dict[str, List[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("sample") and not item.get_closest_marker("slow"):
            tests[item.nodeid.partition("[")[0]].append(item)
    for name, cases in tests.items():
        (size,) = next(cases[0].iter_markers("sample")).args
        chosen = set(random.Random(name).sample(cases, min(size, len(cases))))  # no secret
        for case in cases:
            if case not in chosen:
                case.add_marker(pytest.mark.slow)
                if name.startswith("tests/unit/"):
                    case.add_marker(pytest.mark.oldest)
