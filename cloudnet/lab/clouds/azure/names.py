"""What things are called in the lab's Azure. Imports nothing: the command line knows the hand, and the hand this."""

from __future__ import annotations

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
GROUP = "lab"
SCALE_SET = "pool"
NETWORK_API = "2025-05-01"
