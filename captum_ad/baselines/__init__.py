"""Named baselines: what hidden features are painted with when Activation-Deactivation is not used."""

from captum_ad.baselines.boundary import SAMPLED, boundary_normal
from captum_ad.baselines.named import BASELINES, IMPUTATIONS, baseline, inpaint, linear

__all__ = ["BASELINES", "IMPUTATIONS", "SAMPLED", "baseline", "boundary_normal", "inpaint", "linear"]
