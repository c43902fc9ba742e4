"""Integration with Captum: its attributors perturb masks, and the image stays as it is."""
