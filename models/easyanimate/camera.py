"""Camera poses as EasyAnimate's camera model sees them: the ray of every pixel in Pluecker coordinates. No network."""

from __future__ import annotations

import torch
from torch import Tensor

from ...trajectory.poses import CameraPoses

SCALE = 6  # of the camera's channels: easyanimate/pipeline/pipeline_easyanimate_control.py


def pluecker_video(poses: CameraPoses, width: int, height: int) -> Tensor:
    """[1, 6, frames, height, width] float32: origin x direction, and direction, of the ray through each pixel's centre,
    in the axes of the first camera.

    As easyanimate/data/dataset_image_video.py:ray_condition, but with the cross product over the three axes for clips
    of three frames too.
    """
    fx, fy, cx, cy = torch.from_numpy(poses.pixel_lens(width, height)).float().unbind(-1)  # [frames]
    camera_to_world = torch.from_numpy(poses.relative()).float()
    x = (torch.arange(width) + 0.5 - cx[:, None]) / fx[:, None]
    y = (torch.arange(height) + 0.5 - cy[:, None]) / fy[:, None]
    x, y = x[:, None].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)
    direction = torch.stack([x, y, torch.ones_like(x)], dim=-1)  # [frames, height, width, 3]
    direction = direction / direction.norm(dim=-1, keepdim=True)
    direction = torch.einsum("fhwc,fdc->fhwd", direction, camera_to_world[:, :3, :3])
    origin = camera_to_world[:, None, None, :3, 3].expand_as(direction)
    rays = torch.cat([torch.linalg.cross(origin, direction, dim=-1), direction], dim=-1)
    return rays.permute(3, 0, 1, 2)[None]


def picture_of_rays(rays: Tensor) -> Tensor:
    """[1, 6, frames, height, width] -> [frames, height, 2 * width, 3] in 0..1: directions on the left, where the camera
    looks; moments on the right, what its way adds, brightened to be seen."""
    moment, direction = rays[0].movedim(0, -1).split(3, dim=-1)
    moment = moment / moment.abs().amax().clamp(min=1e-6)
    return (torch.cat([direction, moment], dim=2) / 2 + 0.5).clamp(0, 1)
