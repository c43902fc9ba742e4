"""Test whether Activation-Deactivation works on your network: :func:`check_model`, which names the module at fault."""

from captum_ad.testing.model import check_model
from captum_ad.testing.report import Check, Report

__all__ = ["Check", "Report", "check_model"]
