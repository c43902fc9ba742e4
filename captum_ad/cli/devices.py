"""The device of ``--device``."""

from __future__ import annotations

import warnings

import torch

from captum_ad._common.errors import InputError


def device_named(name: str) -> torch.device:
    """The device with this name, after a test that it works.

    Raises
    ------
    InputError
        If it cannot be used.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # drivers may warn in addition to the error
            device = torch.device(name)
            torch.ones(1, device=device).item()
    except Exception as error:  # each backend raises its own types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0].rstrip(".")
        raise InputError(f"--device {name!r} cannot be used: {reason}. Usable here: {', '.join(_usable())}") from None
    return device


def default_batch_size(device: torch.device) -> int:
    """4 on the CPU, because larger batches do not fit into its cache; else 32."""
    return 4 if device.type == "cpu" else 32


def _usable() -> list[str]:
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]
