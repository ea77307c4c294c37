"""Contract suites and strategies, for our tests and for plugin authors. Production imports nothing from here."""
