"""The number of Hypothesis examples that each property is tested with.

Each run uses the same examples, so a test that fails has its reason in the code. A run without
slow tests uses a tenth of them. To search for new failures, set the number of random examples
for each property: ``LOCALPROVIDERS_FUZZ=20000 python -m pytest tests/promises/fuzz``.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

SEARCH = int(os.environ.get("LOCALPROVIDERS_FUZZ", "0"))

_PART = 10
_USUAL = 100  # the default of Hypothesis

settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("quick", settings.get_profile("steady"), max_examples=_USUAL // _PART)
settings.register_profile(
    "search",
    settings.get_profile("steady"),
    derandomize=False,
    print_blob=True,
    max_examples=max(SEARCH, 1),
)


def choose(*, slow: bool) -> None:
    """Choose the number of examples for this run, before any test module is imported.

    Args:
        slow: Whether this run includes the slow tests.
    """
    settings.load_profile("search" if SEARCH else "steady" if slow else "quick")


def examples(steady: int) -> settings:
    """Return the Hypothesis settings of a property that needs more or fewer examples than most.

    Args:
        steady: Its number of examples in a run with slow tests.
    """
    return settings(max_examples=SEARCH or max(steady * settings().max_examples // _USUAL, 1))
