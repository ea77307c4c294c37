"""The program on every node: VXLAN ground for all, native paths where they are proven, probes, and the way back."""
