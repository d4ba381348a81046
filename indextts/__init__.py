"""How it speaks: the models. Knows nothing of HTTP, sockets, sessions."""
