"""Who listens: the client library and its command line. Runs without torch."""
