"""Camera poses: where a camera stands and looks in each frame, as data. Presets and moves are in moves.py, the text
form in pose_files.py. Knows geometry; no tracks, no model, no drawing.

Axes are those of the camera: x right, y down, z forward. Lengths have no unit: a preset moves by 1.5 or so in a clip.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .tracks import TracksError

# The lens that CameraCtrl's clips have in common, in parts of a 16:9 picture's width and height:
# comfyui/comfyui_nodes.py:CameraTrajectoryFromChaoJie of aigc-apps/EasyAnimate.
LENS = (0.474812461, 0.844111024, 0.5, 0.5)
LENS_ASPECT = 1280 / 720
MOST_POSES = 10_000


@dataclass(frozen=True, eq=False)
class CameraPoses:
    """One pose a frame.

    world_to_camera: [frames, 3, 4] float64, a rotation and a translation: camera = R @ world + t. lens: [frames, 4],
    focal lengths x and y and centre x and y, in parts of the width and height of a 16:9 picture. Arrays and lists are
    converted; TracksError where values are not finite, a rotation is none, or shapes do not agree.
    """

    world_to_camera: np.ndarray
    lens: np.ndarray | None = None

    def __post_init__(self) -> None:
        matrices = np.array(self.world_to_camera, np.float64)
        if matrices.ndim != 3 or matrices.shape[1:] != (3, 4) or not 1 <= len(matrices) <= MOST_POSES:
            raise TracksError(
                f"Camera poses are [frames, 3, 4], at most {MOST_POSES} of them, not {list(matrices.shape)}."
            )
        lens = np.array(LENS if self.lens is None else self.lens, np.float64)
        if lens.shape not in ((4,), (len(matrices), 4)):
            raise TracksError(f"The lens of {len(matrices)} poses is 4 numbers each, not {list(lens.shape)}.")
        lens = np.broadcast_to(lens, (len(matrices), 4))
        turned = matrices[:, :, :3] @ matrices[:, :, :3].transpose(0, 2, 1)
        for frame in range(len(matrices)):
            if not (np.isfinite(matrices[frame]).all() and np.isfinite(lens[frame]).all()):
                raise TracksError(f"Camera pose {frame}: a number is NaN or infinite.")
            if abs(turned[frame] - np.eye(3)).max() > 0.01 or np.linalg.det(matrices[frame, :, :3]) < 0:
                raise TracksError(f"Camera pose {frame}: its first three columns are no rotation.")
            if not (lens[frame, :2] > 0).all():
                raise TracksError(f"Camera pose {frame}: the focal lengths {lens[frame, :2].tolist()} must be above 0.")
        object.__setattr__(self, "world_to_camera", matrices)
        object.__setattr__(self, "lens", np.array(lens))

    @property
    def frames(self) -> int:
        return len(self.world_to_camera)

    def relative(self) -> np.ndarray:
        """[frames, 4, 4] float64 camera-to-world matrices in the axes of the first camera; the first is the
        identity."""
        square = square_matrices(self.world_to_camera)
        camera_to_world = square[0] @ np.linalg.inv(square)
        camera_to_world[0] = np.eye(4)
        return camera_to_world

    def pixel_lens(self, width: int, height: int) -> np.ndarray:
        """[frames, 4] focal lengths and centre in pixels of a video that is cut from the middle of the 16:9 picture.

        As aigc-apps/EasyAnimate easyanimate/data/dataset_image_video.py:process_pose_params.
        """
        lens = self.lens.copy()
        if LENS_ASPECT > width / height:
            lens[:, 0] *= height * LENS_ASPECT / width
        else:
            lens[:, 1] *= width / LENS_ASPECT / height
        return lens * [width, height, width, height]

    def then(self, other: CameraPoses) -> CameraPoses:
        """These poses, and `other` after them, starting from where these end."""
        last = square_matrices(self.world_to_camera[-1:])[0]
        joined = np.concatenate([self.world_to_camera, other.world_to_camera @ last])
        return CameraPoses(joined, np.concatenate([self.lens, other.lens]))

    def resample(self, frames: int) -> CameraPoses:
        """The same move in another number of frames: first and last poses stay first and last, between them positions
        are interpolated linearly and directions on the shortest way."""
        if frames < 1:
            raise TracksError(f"{frames} camera poses: at least one is needed.")
        if frames == self.frames:
            return self
        at = np.linspace(0, self.frames - 1, frames)
        before = np.floor(at).astype(int)
        after = np.minimum(before + 1, self.frames - 1)
        share = (at - before)[:, None]
        camera_to_world = np.linalg.inv(square_matrices(self.world_to_camera))
        mixed = (1 - share[..., None]) * camera_to_world[before] + share[..., None] * camera_to_world[after]
        u, _, v = np.linalg.svd(mixed[:, :3, :3])  # the rotation nearest to the mixture
        mixed[:, :3, :3] = u @ v
        lens = (1 - share) * self.lens[before] + share * self.lens[after]
        return CameraPoses(np.linalg.inv(mixed)[:, :3], lens)

    def with_lens(self, lens) -> CameraPoses:
        return replace(self, lens=lens)


def square_matrices(matrices: np.ndarray) -> np.ndarray:
    """[n, 3, 4] -> [n, 4, 4]"""
    bottom = np.broadcast_to(np.array([0.0, 0.0, 0.0, 1.0]), (len(matrices), 1, 4))
    return np.concatenate([matrices, bottom], axis=1)
