"""The agent's side of the CNI plugin: a runtime asks, a pod is wired, a runtime is answered."""
