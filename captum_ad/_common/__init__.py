"""What all layers use: errors, optional packages, files, images, geometry."""
