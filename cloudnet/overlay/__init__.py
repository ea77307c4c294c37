"""The VXLAN ground as values: what one node needs in its kernel to reach the others. Nothing is written here."""
