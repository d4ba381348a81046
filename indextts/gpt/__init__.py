"""The autoregressive part both model families share."""
