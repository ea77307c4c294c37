"""A cloud in a box: real plugins, agents, kernel routes and packets inside network namespaces of its own."""
