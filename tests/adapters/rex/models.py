"""An image with a bright patch; no rex-xai is needed for it."""

import numpy as np
import torch

SIDE = 16
PATCH = (slice(4, 8), slice(8, 12))


def to_tensor(image):
    """What torchvision's ToTensor and Normalize(0.5, 0.25) do."""
    return (torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255 - 0.5) / 0.25
