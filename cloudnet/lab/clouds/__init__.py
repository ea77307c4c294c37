"""Control planes of the lab, one module a cloud; each runs as a process inside the cloud's namespace."""
