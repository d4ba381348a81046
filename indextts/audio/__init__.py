"""Recordings to features."""
