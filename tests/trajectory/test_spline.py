"""The drawing's maths: the shared vectors, closed forms that they do not depend on, and what holds for any drawing."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_trajectory.trajectory import Tracks
from comfyui_trajectory.trajectory.document import BEYOND, INTERPOLATIONS, KINDS, MOVES, SPEEDS, Timing, parse
from comfyui_trajectory.trajectory.spline import ease, evaluate, flatten, owners, segments, share

CASES = json.loads((Path(__file__).parents[1] / "vectors" / "spline.json").read_text("utf-8"))["cases"]
WAVE = [(20.5, 60.0), (60.0, 10.25), (110.0, 90.0), (150.0, 95.0), (151.0, 20.0), (190.75, 55.0)]


def drawing(*tracks: dict, frames: int = 13, camera=()) -> dict:
    canvas = {"width": 200, "height": 100}
    return {"version": 1, "canvas": canvas, "frames": frames, "fps": 16, "tracks": list(tracks), "camera": list(camera)}


def track(places=WAVE, **more) -> dict:
    return {"points": [{"x": x, "y": y} for x, y in places], **more}


def only(document: dict):
    return parse(document).tracks[0]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_positions_are_those_of_the_vectors(case):
    path, visible = evaluate(parse(json.dumps(case["document"])))
    expected = np.array(case["paths"]).reshape(-1, case["document"]["frames"], 2).transpose(1, 0, 2)
    assert path.shape == expected.shape
    assert np.linalg.norm(path - expected, axis=-1).max(initial=0) <= 0.01
    assert (visible.T == np.array(case["visible"], bool).reshape(visible.T.shape)).all()


def test_the_vectors_cover_every_kind_interpolation_speed_and_camera_move():
    text = json.dumps([case["document"] for case in CASES])
    for name in (*KINDS, *INTERPOLATIONS, *SPEEDS, *MOVES, *BEYOND):
        assert f'"{name}"' in text, name


# Closed forms


def test_linear_interpolation_moves_at_a_steady_speed_through_its_corners():
    path, _ = evaluate(parse(drawing(track([(0, 0), (30, 40), (30, -10)], interpolation="linear"), frames=11)))
    expected = [(6 * k, 8 * k) for k in range(6)] + [(30, 40 - 10 * k) for k in range(1, 6)]
    assert np.allclose(path[:, 0], expected, atol=1e-9)


def test_cardinal_tension_0_is_catmull_rom_and_1_is_straight():
    points = np.array(WAVE)
    middle = segments(only(drawing(track(tension=0))))[1] @ np.ones(2)  # x + y of the second segment's Bezier points
    hermite = (-points[0] + 9 * points[1] + 9 * points[2] - points[3]) / 16  # Catmull-Rom half-way, in its matrix form
    assert np.isclose(middle @ [1 / 8, 3 / 8, 3 / 8, 1 / 8], hermite.sum())
    straight, _ = evaluate(parse(drawing(track(tension=1), track(interpolation="linear"))))
    assert np.allclose(straight[:, 0], straight[:, 1], atol=1e-9)


def test_monotone_curves_stay_between_neighbouring_points_in_x_and_y():
    for closed in (False, True):
        places, _ = flatten(only(drawing(track(interpolation="monotone", closed=closed))))
        corners = np.array([*WAVE, WAVE[0]])
        for i, part in enumerate(places[1:].reshape(-1, 64, 2)):
            low, high = np.minimum(corners[i], corners[i + 1]), np.maximum(corners[i], corners[i + 1])
            assert (part >= low - 1e-9).all() and (part <= high + 1e-9).all()


def test_monotone_curves_agree_with_scipys_where_chords_are_equal():
    from_scipy = pytest.importorskip("scipy.interpolate").CubicHermiteSpline
    places = [(0, 0), (3, 4), (6, 8), (11, 8), (14, 12)]  # chords of 5
    secants = np.diff(places, axis=0) / 5
    inner = [[(secants[i][0] + secants[i + 1][0]) / 2, 0] for i in (1, 2)]  # y turns from rising to level: slope 0
    slopes = np.array([secants[0], secants[0], *inner, secants[3]])
    expected = from_scipy(np.arange(5) * 5.0, places, slopes)(np.arange(257) * 5 / 64)
    found, _ = flatten(only(drawing(track(places, interpolation="monotone"))))
    assert np.abs(found - expected).max() < 1e-9


def test_easing_solves_csss_equation():
    own = ((0.1, 0.9), (0.2, 1.0))
    presets = {"ease-in": ((0.42, 0), (1, 1)), "ease-out": ((0, 0), (0.58, 1)), "ease-in-out": ((0.42, 0), (0.58, 1))}
    for curve, ((x1, y1), (x2, y2)) in {**presets, own: own}.items():
        for u in (0.1, 0.37, 0.8):
            roots = np.roots([1 + 3 * x1 - 3 * x2, 3 * x2 - 6 * x1, 3 * x1, -u])
            t = next(r.real for r in roots if abs(r.imag) < 1e-9 and -1e-9 <= r.real <= 1 + 1e-9)
            expected = 3 * (1 - t) ** 2 * t * y1 + 3 * (1 - t) * t * t * y2 + t**3
            assert np.isclose(ease(curve, np.array([u]))[0], expected, atol=1e-9)


def test_a_motion_without_duration_jumps_at_its_start():
    assert share(Timing(5, 5), np.array([4.9, 5.0, 5.1])).tolist() == [0, 1, 1]


def test_camera_moves_are_those_of_tracks():
    still = track([(40, 30)], kind="point")
    turn = {"kind": "rotate", "degrees": 90, "center": [10, 20]}
    moves = [{"kind": "zoom", "factor": 4}, turn, {"kind": "pan", "x": 24, "y": -12}]
    path, _ = evaluate(parse(drawing(still, camera=moves)))
    done = torch.arange(13) / 12
    base = Tracks(torch.tensor([[40.0, 30.0]]).repeat(13, 1)[:, None], torch.ones(13, 1), (200, 100))
    expected = base.zoom(4.0**done).rotate(90 * done, (10, 20)).pan(24 * done, -12 * done)
    assert np.allclose(path, expected.path, atol=1e-3)


# Any drawing


def anything(seed: int) -> dict:
    dice = random.Random(seed)
    pick = lambda *choices: dice.choice(choices)  # noqa: E731
    place = lambda: pick(dice.uniform(0, 200), dice.uniform(-1e6, 1e6), 0, 50, 50, 1e-300)  # noqa: E731

    def timing():
        start = pick(0, dice.uniform(-20, 20))
        curve = pick("linear", "ease-in", "ease-in-out", [[dice.random(), dice.uniform(-10, 10)] for _ in range(2)])
        end, beyond = start + pick(0, 1e-12, dice.uniform(0, 30)), pick("hold", "hidden")
        return pick(None, {"start": start, "end": end, "curve": curve, "before": beyond, "after": beyond})

    def one():
        times = sorted(pick(0, dice.random(), 1) for _ in range(dice.randint(1, 6)))
        return {
            "points": [{"x": place(), "y": place(), "t": t, "in": [place(), 5], "out": [place(), 0]} for t in times],
            "kind": pick(*KINDS), "timing": timing(), "closed": pick(True, False),
            "interpolation": pick(*INTERPOLATIONS), "tension": dice.uniform(-2, 2),
            "radius": [dice.uniform(0, 99), pick(0, 5)], "visibility": pick(None, [], [[1, 3], [2, 9]]),
            "grid": {"width": 9, "height": pick(0, 9), "columns": pick(1, 3), "rows": 2}, "hidden": dice.random() < 0.1,
        }  # fmt: skip

    def move():
        kind = pick("pan", "zoom", "rotate")
        return {"kind": kind, "x": place(), "factor": pick(0.001, 1000), "degrees": 1e5, "timing": timing()}

    camera = [move() for _ in range(dice.randint(0, 2))]
    return drawing(*(one() for _ in range(dice.randint(1, 4))), frames=dice.randint(1, 20), camera=camera)


def test_no_drawing_gives_a_position_that_is_not_a_number_and_every_frame_is_there():
    for seed in range(300):
        document = parse(json.dumps(anything(seed)))
        path, visible = evaluate(document)
        assert path.shape == (document.frames, len(owners(document)), 2) and visible.shape == path.shape[:2]
        assert np.isfinite(path).all(), seed


def test_tracks_begin_at_their_first_point_and_end_at_their_last():
    for seed in range(200):
        document = parse({**anything(seed), "camera": []})
        for each in [track for track in document.tracks if track.kind != "point"]:
            end = each.points[0] if each.is_closed else each.points[-1]
            path, _ = evaluate(document, [each.timing.start - 1, each.timing.end + 1])
            mine = [i for i, owner in enumerate(owners(document)) if owner.id == each.id]
            if mine and each.kind != "grid":
                assert np.allclose(path[0, mine[0]], each.points[0], atol=1e-6), seed
                assert np.allclose(path[1, mine[0]], end, atol=1e-6), seed


# Tracks


def test_another_number_of_frames_stretches_the_motion_and_evaluates_it_there():
    state = json.dumps(drawing(track(timing={"start": 2.5, "end": 9, "curve": "ease-in"})))
    short, long = Tracks.from_editor(state), Tracks.from_editor(state, frames=25)
    assert (short.frames, long.frames, long.fps) == (13, 25, 32)
    assert torch.equal(long.path[::2], short.path)
    assert not torch.allclose(long.path, short.resample(25).path, atol=0.05)  # not merely interpolated


def test_another_canvas_scales_the_tracks():
    tracks = Tracks.from_editor(drawing(track()), canvas=(400, 50), fps=24)
    assert tracks.canvas == (400, 50) and tracks.fps == 24
    assert torch.allclose(tracks.path[0, 0], torch.tensor([41.0, 30.0]))


def test_positions_outside_the_picture_and_parts_of_a_pixel_are_kept():
    tracks = Tracks.from_editor(drawing(track([(-40.125, 300.5), (500.25, -7)], interpolation="linear")))
    assert tracks.path[0, 0].tolist() == [-40.125, 300.5] and tracks.path[-1, 0].tolist() == [500.25, -7]
