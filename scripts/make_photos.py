"""Write exporter/models/data/photos.npz: the eight photographs that verify models which bring no images of their own.

    pip install 'cbam-export[train]'
    python scripts/make_photos.py

They are crops of photographs that scikit-image carries in its package, all in the public domain or under CC0 (their
origins stand in exporter/models/data/ORIGIN.md), each scaled to 128x128 RGB.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

TARGET = Path(__file__).resolve().parent.parent / "exporter" / "models" / "data" / "photos.npz"
SIDE = 128
CROPS = {  # name: (scikit-image's photograph, left, top, side)
    "astronaut": ("astronaut", 0, 0, 512),
    "face": ("astronaut", 130, 0, 220),
    "cat": ("chelsea", 75, 0, 300),
    "cat_eyes": ("chelsea", 120, 60, 160),
    "coffee": ("coffee", 100, 0, 400),
    "hubble": ("hubble_deep_field", 60, 100, 500),
    "rocket": ("rocket", 100, 0, 427),
    "retina": ("retina", 200, 200, 1000),
}


def main() -> None:
    photos = []
    for source, left, top, side in CROPS.values():
        pixels = Image.fromarray(getattr(skimage.data, source)()[..., :3])
        crop = pixels.crop((left, top, left + side, top + side))
        photos.append(np.asarray(crop.resize((SIDE, SIDE), Image.Resampling.LANCZOS), np.uint8))
    np.savez_compressed(TARGET, images=np.stack(photos), names=np.array(list(CROPS)))
    print(f"{TARGET.name}: {len(photos)} photographs, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
