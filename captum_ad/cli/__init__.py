"""The command line: ``captum-ad compare``, from a photograph to attributions side by side."""
