"""Benchmarks whose truth is known."""
