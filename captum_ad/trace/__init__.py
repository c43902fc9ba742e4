"""Traces of masked forwards: the mask after each operation. :mod:`captum_ad.trace.plots` draws them."""

from captum_ad.trace.records import Checkpoint, Trace

__all__ = ["Checkpoint", "Trace"]
