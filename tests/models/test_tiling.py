"""Where the tiles of a decoded picture meet, nothing is seen: less than a grey level. Only trained weights can show it."""

from __future__ import annotations

import torch
from comfyui_trajectory.commands.cli import EXAMPLE_IMAGE
from comfyui_trajectory.commands.files import read_image
from comfyui_trajectory.models import embedded, load_vae
from comfyui_trajectory.models.common.pictures import cover, to_pixels


@torch.no_grad()
def test_no_seam_of_a_tiled_decoding_is_as_high_as_a_grey_level():
    vae, side, tile = load_vae(embedded("vae")), 192, 96
    picture, _ = cover(to_pixels(read_image(EXAMPLE_IMAGE)), side, side, "crop")
    latents = vae.encode(picture)
    whole, tiled = vae.decode(latents), vae.decode(latents, tile=tile)
    assert not torch.equal(whole, tiled)
    error = (tiled - whole)[0, :, 0] * 127.5  # grey levels
    for dim in (1, 2):
        jumps = error.diff(dim=dim).mean(3 - dim).abs()  # how much brighter one line is than the next, by the tiles
        assert jumps.max() < 1
