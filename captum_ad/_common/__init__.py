"""Shared by all layers: errors, optional packages, files, images, geometry."""
