"""HTML pages that contain everything in one file, so that they work offline."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image


def rendered(template: str, **values: Any) -> str:
    """A page rendered from a template in ``captum_ad/cli/templates``; all values are escaped."""
    environment = Environment(
        loader=PackageLoader("captum_ad.cli"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(template).render(**values)


def png(pixels: npt.NDArray[np.uint8]) -> str:
    """The address of an image for a page, as PNG; `pixels` has shape (H, W) or (H, W, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return uri(buffer.getvalue(), "png")


def uri(data: bytes, kind: str) -> str:
    """A data URI with an image file's contents."""
    return f"data:image/{kind};base64," + base64.b64encode(data).decode()
