"""Latency, load and accuracy benchmarks; never part of the tests."""
