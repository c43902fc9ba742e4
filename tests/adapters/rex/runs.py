"""ReX called from Python, with few iterations unless told otherwise."""

import pytest
import torch

pytest.importorskip("rex_xai")

from rex_xai.explanation.rex import explanation
from rex_xai.input.config import CausalArgs

from captum_ad.adapters.rex import script
from tests.adapters.rex.models import to_tensor


def arguments(path, forward, transform=to_tensor, **settings):
    args = CausalArgs()
    args.path, args.script, args.mask_value = str(path), script(forward, transform), "none"
    args.progress_bar, args.seed, args.iters, args.min_box_size, args.chunk_size = False, 0, 5, 2, 4
    vars(args).update(settings)
    return args


def explained(path, forward, **settings):
    return explanation(arguments(path, forward, **settings), torch.device("cpu"))
