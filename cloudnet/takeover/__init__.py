"""Taking over a node from another pod network without an outage, and giving it back."""
