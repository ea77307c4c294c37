"""Outgoing NAT: what pods of natOutgoing pools send out of the cluster gets an address of the node."""
