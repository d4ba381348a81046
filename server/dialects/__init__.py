"""Doors that speak the protocols of other services, so that their clients can come as they are."""
