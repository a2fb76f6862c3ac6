"""The responses that each fault of the catalogue applies to."""

from __future__ import annotations

import pytest

from localproviders.testing.faults import FAULTS, KINDS, Fault


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.early], ids=repr)
def test_a_fault_of_the_request_body_applies_to_all_requests_with_a_body(fault: Fault) -> None:
    # Only a request for a model list has no body.
    assert {*KINDS} - {*fault.kinds} == {"list"}
