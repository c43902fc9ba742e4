"""Attributors that Captum does not have, with Captum's interface."""

from captum_ad.attr.fei import FEI
from captum_ad.attr.idgi import IDGI
from captum_ad.attr.multiscale import MultiScale, log_odds, pyramid
from captum_ad.attr.occlusion import RegionOcclusion
from captum_ad.attr.responsibility import CausalResponsibility
from captum_ad.attr.rise import Rise

__all__ = ["FEI", "IDGI", "CausalResponsibility", "MultiScale", "RegionOcclusion", "Rise", "log_odds", "pyramid"]
