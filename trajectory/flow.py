"""Optical flow: a field from tracks as Tora was trained with, a field from a video, and the colours that stand for it.
Knows pixels and frames; knows no model, no ComfyUI."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from .tracks import Tracks, TracksError

SIGMA, REACH = 10.0, 49  # pixels: of the blur, and how far it reaches, whatever the size of the frame
WHEEL = (15, 6, 4, 11, 13, 6)  # steps from red to yellow, green, cyan, blue, magenta and back to red
MOST = 1 << 26  # numbers held at once while a field is made
FEW = 16  # tracks of which each is dealt with on its own


def flow_of_tracks(tracks: Tracks, width: int, height: int, device: torch.device | str = "cpu") -> Tensor:
    """[frames, 2, height, width] float32, pixels a frame: what Tora is shown, before it is coloured.

    tracks: in pixels of the video, as many frames as the clip. Frame 0 is zero; in frame i + 1 each track that is
    visible in frame i puts its step from i to i + 1 there where it stood, blurred by a Gaussian whose middle is 1;
    steps add up. Parts of a pixel are shared by its neighbours, and the frame mirrors what would leave it. A track
    whose point is off the frame adds nothing. For whole pixels these are the numbers of alibaba/Tora
    traj_utils.py:process_traj.
    """
    here, step = steps_of(tracks, width, height, device)
    field = torch.zeros(tracks.frames, 2, height, width, device=here.device)
    at_once = max(1, MOST // (tracks.count * (width + height)))
    across, down = mirrored_blur(width, here.device), mirrored_blur(height, here.device)
    for i in range(0, len(here), at_once):
        x = spread_at(across, here[i : i + at_once, :, 0])  # [some frames, tracks, width]
        y = spread_at(down, here[i : i + at_once, :, 1])
        for axis in (0, 1):
            moved = y * step[i : i + at_once, :, axis, None]
            field[i + 1 : i + 1 + len(x), axis] = moved.transpose(1, 2) @ x
    return field


def steps_of(tracks: Tracks, width: int, height: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Where each track stands and how it moves on from there, [frames - 1, tracks, 2] each; it does not where it is
    invisible or off the frame."""
    if not (1 <= width and 1 <= height):
        raise TracksError(f"{width}x{height} is no size of a video.")
    path = tracks.path.to(device)
    here = path[:-1]
    inside = ((here >= 0) & (here <= torch.tensor([width, height], device=path.device))).all(-1)
    acts = tracks.visibility[:-1].to(path.device) & inside
    return here, (path[1:] - here) * acts[..., None]


def flow_video(tracks: Tracks, width: int, height: int, device: torch.device | str = "cpu") -> Tensor:
    """[1, 3, frames, height, width] in -1..1: the coloured flow of tracks, as Tora's VAE is given it.

    The numbers of `flow_colours(flow_of_tracks(...)) / 127.5 - 1`. A few tracks colour a small part of the frames, so
    that only what is near them is computed.
    """
    if tracks.count > FEW:
        return flow_pixels(flow_colours(flow_of_tracks(tracks, width, height, device)))
    here, step = steps_of(tracks, width, height, device)
    video = torch.ones(1, 3, tracks.frames, height, width, device=here.device)  # white
    if not len(here):
        return video
    near = torch.arange(-REACH, REACH + 2, device=here.device)
    places, weights = [], []
    for axis, length in enumerate((width, height)):
        place = (here[..., axis].clamp(0, length - 1).floor().long()[..., None] + near).clamp(0, length - 1)
        every = spread_at(mirrored_blur(length, here.device), here[..., axis])  # [frames - 1, tracks, length]
        # What each track adds at the places near each other one: [frames - 1, tracks near, tracks adding, places]
        each = every[:, None].expand(-1, tracks.count, -1, -1)
        weights.append(each.gather(3, place[:, :, None].expand(-1, -1, tracks.count, -1)))
        places.append(place)
    moves = [(weights[1] * step[:, None, :, axis, None]).transpose(2, 3) @ weights[0] for axis in (0, 1)]
    colours = colours_of(
        *moves
    )  # [frames - 1, tracks, places down, places across, 3]; where tracks meet they are the same
    frame = torch.arange(1, tracks.frames, device=here.device)[:, None, None, None]
    video[0].movedim(0, -1)[frame, places[1][..., None], places[0][:, :, None]] = colours / 127.5 - 1
    return video


def flow_pixels(colours: Tensor) -> Tensor:
    """[frames, 3, height, width] uint8 -> [1, 3, frames, height, width] in -1..1."""
    return colours.float().div_(127.5).sub_(1).transpose(0, 1)[None]


@lru_cache(maxsize=8)
def mirrored_blur(length: int, device: torch.device) -> Tensor:
    """[length, length]: row i is what a one at i becomes along one axis of a frame; beyond its edges the frame is
    mirrored about the last pixel, as often as need be (OpenCV's BORDER_REFLECT_101)."""
    reach = torch.arange(-REACH, REACH + 1)
    weight = torch.exp(-0.5 * (reach / SIGMA).double() ** 2)
    period = max(1, 2 * (length - 1))
    place = (torch.arange(length)[:, None] + reach).remainder(period)
    place = torch.minimum(place, period - place).clamp(max=length - 1)
    blurred = torch.zeros(length, length, dtype=torch.float64)
    blurred.scatter_add_(1, place, weight.expand(length, -1))  # [to, from]
    return blurred.T.float().contiguous().to(device)


def spread_at(blur: Tensor, position: Tensor) -> Tensor:
    """Rows of `blur` at positions between its rows: [..., length]."""
    position = position.clamp(0, len(blur) - 1)
    before = position.floor().long()
    after = (before + 1).clamp(max=len(blur) - 1)
    return torch.lerp(blur[before], blur[after], (position - before)[..., None])


def flow_of_video(frames: Tensor) -> Tensor:
    """[frames, 2, height, width] float32, pixels a frame, of a video [frames, height, width, 3] in 0..1: in frame i + 1
    how the pixels of frame i move, zero in frame 0. Found by dense inverse search (Kroeger et al., arXiv
    1603.03590)."""
    import cv2

    if frames.ndim != 4 or frames.shape[-1] not in (3, 4) or 0 in frames.shape:
        raise TracksError(f"A video is [frames, height, width, 3] in 0..1, not {list(frames.shape)}.")
    grey = (frames[..., :3].float().mean(-1).clamp(0, 1) * 255).round().to("cpu", torch.uint8).numpy()
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    field = torch.zeros(len(grey), 2, *grey.shape[1:])
    for i in range(len(grey) - 1):
        field[i + 1] = torch.from_numpy(search.calc(grey[i], grey[i + 1], None)).permute(2, 0, 1)
    return field


def flow_colours(field: Tensor) -> Tensor:
    """[frames, 3, height, width] uint8: the direction as a hue, the length, relative to the longest of the clip, as its
    strength; white where nothing moves. field: [frames, 2, height, width].

    Baker et al., A Database and Evaluation Methodology for Optical Flow; as pytorch/vision
    torchvision/utils.py:flow_to_image.
    """
    picture = torch.full((len(field), 3, *field.shape[2:]), 255, dtype=torch.uint8, device=field.device)
    moving = (field != 0).any(1)
    picture.movedim(1, -1)[moving] = colours_of(field[:, 0][moving], field[:, 1][moving]).to(torch.uint8)
    return picture


def colours_of(x: Tensor, y: Tensor) -> Tensor:
    """Colours [.., 3] of flow x, y [..], whole numbers in 0..255, relative to the longest of all."""
    length = torch.sqrt(x * x + y * y)
    longest = (length.max() if length.numel() else 0) + torch.finfo(torch.float32).eps
    wheel = colour_wheel(x.device)
    turn = (torch.atan2(-y, -x) / math.pi + 1) / 2 * (len(wheel) - 1)
    before = turn.floor().long()
    share = (turn - before)[..., None]
    hue = torch.lerp(wheel[before], wheel[(before + 1) % len(wheel)], share)
    return torch.floor(255 * (1 - (length / longest)[..., None] * (1 - hue)))


@lru_cache(maxsize=4)
def colour_wheel(device: torch.device) -> Tensor:
    """[55, 3] in 0..1: red, yellow, green, cyan, blue, magenta and back, each way in steps that floor to whole
    bytes."""
    wheel = []
    for i, count in enumerate(WHEEL):
        # The full channel: red, green, green, blue, blue, red; beside it the next one rises, or the one before falls.
        ramp = torch.floor(255 * torch.arange(count, dtype=torch.float64) / count)
        part = torch.zeros(count, 3, dtype=torch.float64)
        full, changing = (i + 1) // 2 % 3, (1 - i) % 3
        part[:, full] = 255
        part[:, changing] = 255 - ramp if i % 2 else ramp
        wheel.append(part)
    return (torch.cat(wheel) / 255).float().to(device)
