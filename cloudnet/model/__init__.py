"""Values: resources, addresses, paths. Frozen, pure, and ignorant of everything else."""
