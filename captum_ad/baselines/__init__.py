"""Named baselines: what hidden features are painted with where there is no Activation-Deactivation."""

from captum_ad.baselines.boundary import SAMPLED, boundary_normal
from captum_ad.baselines.named import BASELINES, IMPUTATIONS, baseline, inpaint, linear

__all__ = ["BASELINES", "IMPUTATIONS", "SAMPLED", "baseline", "boundary_normal", "inpaint", "linear"]
