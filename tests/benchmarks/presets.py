"""What the presets' explanations are worth beside baselines': README's table of robustness.

    python tests/benchmarks/presets.py PHOTOGRAPH ... [--csv FILE] [--threads 1]

EfficientNet-Lite0 on photographs, the class that it gives to each. Explained by Occlusion (windows of 64 pixels,
stride 32): the size of the sufficient explanation at γ = .9, and ρ on 20 solid colors, of that explanation and of
the best 30 % of the pixels. The last column is the mean difference in the latter from the best baseline, with a
bootstrap interval over the photographs. What missing parts do to a network is for ``captum-ad rules`` to say.
"""

import argparse
import sys
from pathlib import Path

import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from captum_ad import PRESETS
from captum_ad.demo import efficientnet_lite0
from captum_ad.metrics import SolidColors, compare, significance, summarize

MASKINGS = (*(f"ad:{preset}" for preset in PRESETS), "zero", "min", "max", "avg")
SIZE = 0.3
HEAD = ("masking", "size", "ρ", f"ρ at size {SIZE}", "against the best")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", nargs="+")
    parser.add_argument("--csv", type=Path, help="the study's records; go on where they end")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, transform = efficientnet_lite0()
    images = {Path(name).stem: transform(Image.open(name).convert("RGB"))[None] for name in options.photographs}
    records = compare(
        model, images, ["occlusion"], MASKINGS, [0.9], {"K1": SolidColors(20, 0, mean=127 / 255, std=128 / 255)},
        sizes=[SIZE], window=64, step=1004, batch_size=4, path=options.csv,
    )  # fmt: skip
    found = summarize(records).set_index("masking")
    against = significance(records)
    against = against[against["is_best"] & (against["size"] == SIZE)].set_index("ad")
    print(f"{len(images)} photographs\n\n| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for name in MASKINGS:
        cells = [name]
        rows = found.loc[name]
        at_gamma, at_size = rows[rows["gamma"].notna()].iloc[0], rows[rows["gamma"].isna()].iloc[0]
        cells += [f"{value:.2f}" for value in (at_gamma["size_mean"], at_gamma["rho_mean"], at_size["rho_mean"])]
        if name in against.index:
            row = against.loc[name]
            cells.append(f"{row['difference']:+.2f} ({row['ci_low']:+.2f} to {row['ci_high']:+.2f})")
        print(f"| {' | '.join([*cells, ''][: len(HEAD)])} |", flush=True)


if __name__ == "__main__":
    main()
