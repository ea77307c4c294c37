"""What decides about routes and paths, without I/O, clock or chance: plan, claims, path, fallback, probe."""
