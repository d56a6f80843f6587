"""Sizes that EasyAnimate was trained on. Numbers only."""

from __future__ import annotations

# Sizes (height, width) at a base resolution of 512 pixels by their rounded ratio, as training sorted its clips:
# easyanimate/data/bucket_sampler.py:ASPECT_RATIO_512.
BUCKETS = {
    0.25: (256, 1024), 0.26: (256, 992), 0.27: (256, 960), 0.28: (256, 928), 0.32: (288, 896), 0.33: (288, 864),
    0.35: (288, 832), 0.4: (320, 800), 0.42: (320, 768), 0.48: (352, 736), 0.5: (352, 704), 0.52: (352, 672),
    0.57: (384, 672), 0.6: (384, 640), 0.68: (416, 608), 0.72: (416, 576), 0.78: (448, 576), 0.82: (448, 544),
    0.88: (480, 544), 0.94: (480, 512), 1.0: (512, 512), 1.07: (512, 480), 1.13: (544, 480), 1.21: (544, 448),
    1.29: (576, 448), 1.38: (576, 416), 1.46: (608, 416), 1.67: (640, 384), 1.75: (672, 384), 2.0: (704, 352),
    2.09: (736, 352), 2.4: (768, 320), 2.5: (800, 320), 2.89: (832, 288), 3.0: (864, 288), 3.11: (896, 288),
    3.62: (928, 256), 3.75: (960, 256), 3.88: (992, 256), 4.0: (1024, 256),
}  # fmt: skip
STEP = 16  # pixels


def bucket_size(width: float, height: float, base: int) -> tuple[int, int]:
    """The (width, height) that suits a picture of that size. base: side in pixels of a square video, 512 to 1024.

    As comfyui/comfyui_nodes.py:EasyAnimateI2VSampler.process chooses it.
    """
    nearest = BUCKETS[min(BUCKETS, key=lambda ratio: abs(ratio - height / width))]
    rows, columns = (int(side / 512 * base / STEP) * STEP for side in nearest)
    return columns, rows
