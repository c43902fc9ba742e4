"""Prototypes: the image patches to which the channels of a network respond most."""

from captum_ad.prototypes.lookup import Prototypes
from captum_ad.prototypes.patches import Prototype, patch_worth

__all__ = ["Prototype", "Prototypes", "patch_worth"]
