"""Pages: one HTML file with everything in it, for a browser without a network."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image


def rendered(template: str, **values: Any) -> str:
    """A page made of a template of ``captum_ad/cli/templates``; all values are escaped."""
    environment = Environment(
        loader=PackageLoader("captum_ad.cli"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(template).render(**values)


def png(pixels: npt.NDArray[np.uint8]) -> str:
    """An image for a page, shape (H, W) or (H, W, 3), loss-free."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return uri(buffer.getvalue(), "png")


def uri(data: bytes, kind: str) -> str:
    """An image file's contents as the address of the image."""
    return f"data:image/{kind};base64," + base64.b64encode(data).decode()
