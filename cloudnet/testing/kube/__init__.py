"""A Kubernetes API server for tests: real HTTP, stateful, and as hard on its clients as a real one."""
