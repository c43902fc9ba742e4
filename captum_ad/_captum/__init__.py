"""The seam to Captum: its attributors perturb masks, and leave the image as it is."""
