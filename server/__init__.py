"""Who answers: the Starlette app, its transports and its command line."""
