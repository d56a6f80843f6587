"""The official rule that turns an image's shape and an area into a video size, its rounding included.
Only for parity with the release: where width and height are given, nothing of this is needed."""

import math

STRIDE = 8  # pixels a latent position, both axes
PATCH = 2  # latent positions a token, both axes
TIME_STRIDE = 4


def size_for_area(height: int, width: int, max_area: int) -> tuple[int, int]:
    """(height, width) in pixels of the video that ATI makes of an image: its aspect, about `max_area` pixels, multiples
    of 16.

    In float64 and in this order, as wan/image2video.py:WanATI.generate: 832x480 at that very area becomes 464 rows,
    because sqrt(399360 * 480 / 832) is 479.99999999999994.
    """
    aspect = height / width
    latent_height = round(math.sqrt(max_area * aspect) // STRIDE // PATCH * PATCH)
    latent_width = round(math.sqrt(max_area / aspect) // STRIDE // PATCH * PATCH)
    return latent_height * STRIDE, latent_width * STRIDE


def token_count(height: int, width: int, frames: int) -> int:
    """Tokens of the transformer for a video of `frames` (4n+1) frames of height x width pixels."""
    return ((frames - 1) // TIME_STRIDE + 1) * (height // STRIDE) * (width // STRIDE) // PATCH**2
