"""Activation-Deactivation for other packages: a module for each, and torchvision's detectors.

Each module needs the package it is named after, and none imports another's.
"""
