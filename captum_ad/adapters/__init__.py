"""Activation-Deactivation for other packages, one module each, and for torchvision's detectors.

Each module needs only the package it is named after.
"""
