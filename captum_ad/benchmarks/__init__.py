"""Benchmarks with a known truth."""
