"""Does Activation-Deactivation work on a network of yours? :func:`check_model` says, and names the module at fault."""

from captum_ad.testing.model import check_model
from captum_ad.testing.report import Check, Report

__all__ = ["Check", "Report", "check_model"]
