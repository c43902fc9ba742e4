"""The command line: ``captum-ad compare``, attributions side by side, and ``captum-ad rules``, which masking to use."""
