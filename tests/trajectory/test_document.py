"""The editor's document: what is read, and what a faulty one is told."""

from __future__ import annotations

import json

import pytest
from comfyui_trajectory.trajectory import Tracks, TracksError
from comfyui_trajectory.trajectory.document import parse

POINT = {"x": 1, "y": 2}


def with_track(**track) -> dict:
    return {"tracks": [{"id": "t7", "name": "wing", "points": [POINT, {"x": 3, "y": 4}], **track}]}


def test_what_is_left_out_has_a_default_and_what_is_the_browsers_is_ignored():
    document = parse({"tracks": [{"points": [POINT], "later": 1}], "view": {"zoom": 3}, "background": "input"})
    assert (document.canvas, document.frames, document.fps) == ((832, 480), 81, 16)
    track = document.tracks[0]
    found = (track.kind, track.interpolation, track.tension, track.timing.end, track.visibility)
    assert found == ("spline", "cardinal", 0, 80, None)


FAULTS = [
    ("", "nothing is drawn yet: open the editor"),
    ("  \n", "nothing is drawn yet"),
    ({"tracks": []}, "nothing is drawn yet"),
    (with_track(hidden=True), "all tracks are hidden"),
    ('{"tracks": [', "not valid JSON"),
    ("[" * 100_000, "not valid JSON"),
    ("[[1, 2]]", 'not an object with "tracks"'),
    ({"version": 2, "tracks": []}, "version 2, this pack reads up to 1: update the pack"),
    ({"version": "1"}, 'version: "1"'),
    ({"canvas": {"width": 0, "height": 3}}, "canvas.width: 0 is not between"),
    ({"canvas": {"width": 10.5, "height": 3}}, "canvas.width: 10.5 is not a whole number"),
    ({"frames": 2001}, "frames: 2001 is not between 1 and 2000"),
    ({"frames": True}, "frames: true is not a finite number"),
    ({"fps": 0}, "fps: 0 is not between"),
    ({"tracks": {}}, "tracks: {} is not a list"),
    ({"tracks": [3]}, "tracks[0]: 3 is not a track"),
    (with_track(points=[]), 'Track "wing" (t7), points: 0 entries'),
    (with_track(points=[POINT, {"x": "9", "y": 1}]), 'Track "wing" (t7), points[1].x: "9" is not a finite number'),
    (with_track(points=[{"x": 1}]), 'Track "wing" (t7), points[0].y: null is not a finite number'),
    ('{"tracks": [{"points": [{"x": NaN, "y": 1}]}]}', "points[0].x: NaN is not a finite number"),
    ('{"tracks": [{"points": [{"x": 1' + "0" * 400 + ', "y": 1}]}]}', "points[0].x"),
    (with_track(points=[{"x": 2e6, "y": 1}]), "points[0].x: 2000000.0 is not between"),
    (with_track(kind="arc"), 'Track "wing" (t7), kind: "arc" is none of spline'),
    (with_track(kind=["spline"]), 'kind: ["spline"] is none of'),
    (with_track(interpolation="b"), 'Track "wing" (t7), interpolation: "b" is none of'),
    (with_track(timing={"start": 5, "end": 4}), "timing: the end 4 is before the start 5"),
    (with_track(timing={"curve": [[1.5, 0], [0, 1]]}), "timing.curve: x of both handles"),
    (with_track(timing={"curve": "fast"}), 'timing.curve: "fast" is none of'),
    (with_track(visibility=[[4, 2]]), "visibility[0]: the range ends (2) before it begins (4)"),
    (with_track(kind="freehand", points=[{**POINT, "t": 1}, {**POINT, "t": 0}]), "points[1].t: recorded times run"),
    (with_track(kind="grid"), "grid: null is not"),
    (with_track(kind="grid", grid={"width": 1, "height": 1, "mask": [[0, 0]]}), "grid.mask: 1 entries; 3 to"),
    (with_track(kind="grid", grid={"width": 1, "height": 1, "mask": [[5, 5], [6, 5], [6, 6]]}), "leave no point"),
    (with_track(kind="circle", radius=[-1, 3]), "radius: -1 is not between 0"),
    (with_track(kind="circle", spokes=0), "spokes: 0 is not between 1"),
    (with_track(closed=1), "closed: 1 is not true or false"),
    (with_track(name=5), "name: 5 is not a text"),
    ({"camera": [{"kind": "dolly"}], **with_track()}, 'Camera move 1, kind: "dolly" is none of pan, zoom, rotate'),
    ({"camera": [{"kind": "zoom", "factor": 0}], **with_track()}, "Camera move 1, factor: 0 is not between"),
    ({"tracks": [{"points": [POINT]}] * 1001}, "tracks: 1001 entries; 0 to 1000 are possible"),
    ({"tracks": [{"points": [POINT] * 30_000}] * 2}, "60,000 control points"),
    (with_track(kind="grid", grid={"width": 1, "height": 1, "columns": 200, "rows": 200}), "40,000 tracks"),
    (
        {"frames": 2000, **with_track(kind="grid", grid={"width": 1, "height": 1, "columns": 100, "rows": 100})},
        "at most 4,000,000",
    ),
    (" " * 9_000_000 + "{}", "at most 8,388,608 are read"),
]


@pytest.mark.parametrize(("state", "message"), FAULTS, ids=[message[:50] for _, message in FAULTS])
def test_what_is_wrong_is_told_with_its_track_and_field(state, message):
    with pytest.raises(TracksError) as error:
        Tracks.from_editor(state)
    assert message in str(error.value)
    assert len(str(error.value)) < 400


def test_a_text_cut_off_anywhere_is_an_error_and_nothing_else():
    text = json.dumps({"camera": [{"kind": "pan"}], **with_track()})
    for length in range(1, len(text)):
        with pytest.raises(TracksError):
            Tracks.from_editor(text[:length])
