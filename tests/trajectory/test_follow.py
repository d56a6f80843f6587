"""The optical tracker on videos whose motion is known. The thresholds are the measured errors with about a half on
top."""

import numpy as np
import pytest
from comfyui_trajectory.trajectory import TracksError
from comfyui_trajectory.trajectory.follow import follow
from moving import curve, moving_disc, texture

SMALL = {  # 96 x 96, 17 frames, a disc of 22 pixels: start, step a frame
    "right": ((18, 40), (3.6, 0.6)),
    "fast": ((16, 60), (5.0, -1.0)),
    "left": ((80, 30), (-3.0, 2.0)),
    "slow": ((48, 48), (0.8, 0.5)),
}


def distances(tracks, path: np.ndarray) -> np.ndarray:
    return np.linalg.norm(tracks.path.numpy() - path, axis=-1)


@pytest.mark.parametrize("name", SMALL)
def test_a_small_disc_in_a_small_blurred_video_is_followed_to_half_a_pixel(name):
    seed = list(SMALL).index(name)
    path = curve(17, *SMALL[name])
    video = moving_disc(texture(seed, 22, 22), texture(seed + 50, 96, 96), path)
    tracks = follow(video, path[:1])
    assert tracks.visibility.all()
    assert distances(tracks, path[:, None]).mean() < 0.5


def test_points_off_the_middle_of_a_small_disc_are_followed():
    path = curve(17, (18, 40), (3.6, 0.6))
    video = moving_disc(texture(1, 24, 24), texture(51, 96, 96), path)
    points = path[:, None] + np.array([(0, 0), (3, 0), (-2, 3)])
    assert distances(follow(video, points[0]), points).mean() < 0.8


def test_a_cut_out_of_a_photograph_over_a_photograph_is_followed():
    photographs = pytest.importorskip("skimage.data")
    thing = photographs.chelsea()[100:144:2, 180:224:2]
    path = curve(17, (20, 60), (3.4, -1.2))
    video = moving_disc(thing, photographs.astronaut()[:384:4, 60:444:4].astype(np.float32), path)
    assert distances(follow(video, path[:1]), path[:, None]).mean() < 0.6


def test_a_larger_video_is_followed_to_a_part_of_a_pixel():
    path = curve(9, (150, 150), (12, 4))
    video = moving_disc(texture(3, 90, 90), texture(53, 320, 480), path, blur=1.0)
    points = path[:, None] + np.array([(0, 0), (15, 10)])
    assert distances(follow(video, points[0]), points).mean() < 0.3


def test_what_stands_still_is_found_to_stand_still():
    path = np.repeat([[40.0, 50.0]], 8, axis=0)
    video = moving_disc(texture(4, 22, 22), texture(54, 96, 96), path)
    assert distances(follow(video, [(40, 50), (70, 20)]), np.array([(40, 50), (70, 20)])).max() < 0.3


def test_points_may_start_in_any_frame_and_are_followed_both_ways():
    path = curve(9, (30, 40), (3, 1))
    video = moving_disc(texture(5, 22, 22), texture(55, 96, 96), path)
    tracks = follow(video, path[[4, 8]], start=[4, 8])
    assert distances(tracks, path[:, None]).mean() < 0.6
    assert np.allclose(tracks.path[4, 0], path[4]) and np.allclose(tracks.path[8, 1], path[8])


def test_what_disappears_is_invisible_and_held_where_it_was_last_seen():
    path = curve(10, (30, 40), (3, 0), bend=0)
    video = moving_disc(texture(6, 22, 22), texture(56, 96, 96), path)
    video[5:] = moving_disc(texture(6, 22, 22), texture(56, 96, 96), np.full((5, 2), -100.0))
    tracks = follow(video, path[:1])
    assert tracks.visibility[:5].all() and not tracks.visibility[6:].any()
    assert (tracks.path[6:] == tracks.path[6]).all()


def test_a_point_off_the_picture_is_invisible_and_stays():
    video = moving_disc(texture(7, 22, 22), texture(57, 96, 96), curve(4, (30, 40), (3, 0)))
    tracks = follow(video, [(30, 40), (-20, 10)])
    assert tracks.visibility[:, 0].all() and not tracks.visibility[:, 1].any()
    assert (tracks.path[:, 1].numpy() == (-20, 10)).all()


def test_floats_and_bytes_give_the_same_tracks():
    video = moving_disc(texture(8, 22, 22), texture(58, 96, 96), curve(4, (30, 40), (3, 0)))
    a, b = follow(video, [(30, 40)]), follow(video.astype(np.float32) / 255, [(30, 40)])
    assert (a.path == b.path).all()


BAD_POINTS = [([(1, 2, 3)], 0), ([], 0), ([(np.nan, 1)], 0), ([(5, 5)], 9), ([(5, 5)], -1)]


@pytest.mark.parametrize("points, start", BAD_POINTS)
def test_points_that_cannot_be_followed_are_refused(points, start):
    with pytest.raises(TracksError):
        follow(np.zeros((4, 32, 32, 3), np.uint8), points, start=start)
