"""What a masked forward did: the mask after each operation. :mod:`captum_ad.trace.plots` draws it."""

from captum_ad.trace.records import Checkpoint, Trace

__all__ = ["Checkpoint", "Trace"]
