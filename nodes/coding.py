"""A VAE at work: brought to its device, with room for what it takes, on whole frames or in tiles where these do not fit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from ..models.common.memory import OVERHEAD, TILES, measure_coding
from .host import host

FALLBACK_TILE = TILES[-1]  # where whole frames ran out of memory although they should have fitted
log = logging.getLogger(__name__)
Made = TypeVar("Made")
DOING = {"encode": "encoding", "decode": "decoding"}


def coded(
    work: Callable[[int | None], Made], vae, direction: str, size: tuple[int, int, int], tile: int | None = None,
    tiles: bool = True,
) -> Made:  # fmt: skip
    """work(tile) with `vae` on its device. direction: 'encode' or 'decode'; size: width, height and frames of the clip;
    tile: the side of tiles in pixels, None for whole frames and tiles only where these do not fit, if it can do `tiles`.
    """
    doing, tile = f"{DOING[direction]} {size[0]}x{size[1]}", tile or None
    needed = measure_coding(vae, direction, *size, tile)
    beside = 0 if vae.device.type == "cpu" else OVERHEAD  # libraries' workspaces
    host.ready(vae, needed + beside, doing)
    free = host.free_memory(vae)
    if tiles and tile is None and free is not None and needed > free:
        takes = {side: measure_coding(vae, direction, *size, side) for side in TILES}
        tile = next((side for side in TILES if takes[side] <= free), FALLBACK_TILE)
        log.warning("%s in tiles of %d pixels: whole frames take about %.1f GB beside the weights, and %.1f GB are free.",
                    doing.capitalize(), tile, needed / 1e9, free / 1e9)  # fmt: skip
        host.ready(vae, takes[tile] + beside, doing)
    try:
        return work(tile)
    except Exception as error:
        if not tiles or tile is not None or not host.is_out_of_memory(error):
            raise
    log.warning("Whole frames do not fit into memory: %s in tiles of %d pixels.", doing, FALLBACK_TILE)
    host.free()
    return work(FALLBACK_TILE)
