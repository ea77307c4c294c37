"""The command line: one file a command group. It parses, asks and prints; deciding is done elsewhere."""
