"""The faults: failures of a real server that a fake server can simulate for a test."""

from __future__ import annotations

from typing import Dict, Tuple, Union

from localproviders._did_you_mean import did_you_mean
from localproviders.testing.faults.bodies import BODY_FAULTS
from localproviders.testing.faults.decisions import DECISION_FAULTS
from localproviders.testing.faults.fault import KINDS, Fault
from localproviders.testing.faults.heads import HEADS
from localproviders.testing.faults.rankings import RANKING_FAULTS
from localproviders.testing.faults.records import RECORD_FAULTS
from localproviders.testing.faults.statuses import STATUS_FAULTS
from localproviders.testing.faults.streams import STREAM_FAULTS
from localproviders.testing.faults.transfers import TRANSFER_FAULTS
from localproviders.testing.faults.vectors import VECTOR_FAULTS

#: All faults, in the order of these groups: head, body, records, streams, statuses, vectors,
#: rankings, transfers, decisions.
FAULTS: Tuple[Fault, ...] = (
    *HEADS,
    *BODY_FAULTS,
    *RECORD_FAULTS,
    *STREAM_FAULTS,
    *STATUS_FAULTS,
    *VECTOR_FAULTS,
    *RANKING_FAULTS,
    *TRANSFER_FAULTS,
    *DECISION_FAULTS,
)

_BY_NAME: Dict[str, Fault] = {fault.name: fault for fault in FAULTS}


def find_fault(fault: Union[Fault, str]) -> Fault:
    """Return the fault with a name. A `Fault` is returned unchanged.

    Raises:
        ValueError: There is no fault of this name.
    """
    if isinstance(fault, Fault):
        return fault
    if fault not in _BY_NAME:
        raise ValueError(f"there is no fault {fault!r}{did_you_mean(fault, list(_BY_NAME))}")
    return _BY_NAME[fault]


__all__ = ["FAULTS", "KINDS", "Fault", "find_fault"]
