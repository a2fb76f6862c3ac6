"""The longest time that a test waits for an event that a fault may prevent."""

from __future__ import annotations

#: How late an event may be on a busy machine, in seconds. The value may be large, because only a
#: test that fails waits for all of it: a time limit that does not work never fires.
GRACE_S = 20.0
