"""Writes spline.json beside it: drawings and where their tracks are, for the tests of both languages.

    python tests/vectors/make_spline.py

The positions are Python's (trajectory/spline.py); tests/trajectory/test_spline.py checks that code against closed forms
besides, so that the file is no mere copy of what it tests. Run it after a deliberate change of the maths or of a case.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from comfyui_trajectory.trajectory.document import INTERPOLATIONS, parse
from comfyui_trajectory.trajectory.spline import evaluate

FILE = Path(__file__).with_name("spline.json")
FRAMES = 13
WAVE = [(20.5, 60), (60, 10.25), (110, 90), (150, 95), (151, 20), (190.75, 55)]
SPEEDS = {"custom": [[0.1, 0.9], [0.2, 1]], "overshoot": [[0.3, -0.8], [0.6, 1.7]], "steep": [[1, 0], [0, 1]]}


def points(*places, **more) -> list[dict]:
    return [{"x": x, "y": y, **more} for x, y in places]


def drawing(*tracks: dict, camera=(), frames: int = FRAMES) -> dict:
    canvas = {"width": 200, "height": 100}
    named = [{"id": f"t{i + 1}", "name": f"track {i + 1}", **track} for i, track in enumerate(tracks)]
    return {"version": 1, "canvas": canvas, "frames": frames, "fps": 16, "tracks": named, "camera": list(camera)}


def line(**more) -> dict:
    return {"kind": "spline", "points": points((0, 50), (120, 50)), "interpolation": "linear", **more}


def cases() -> dict[str, dict]:
    wave = {"kind": "spline", "points": points(*WAVE)}
    handles = points(*WAVE[:3])
    handles[0]["out"], handles[1]["in"], handles[1]["out"] = [30, 15.5], [-10, -40], [20, 60]
    found = {}
    for closed in (False, True):
        for interpolation in INTERPOLATIONS:
            name = f"{interpolation}{', closed' * closed}"
            shape = handles if interpolation == "bezier" else wave["points"]
            found[name] = drawing({**wave, "points": shape, "interpolation": interpolation, "closed": closed})
    for tension in (-0.5, 0.3, 1):
        found[f"cardinal of tension {tension}"] = drawing({**wave, "interpolation": "cardinal", "tension": tension})
    for speed in ("linear", "ease-in", "ease-out", "ease-in-out", *SPEEDS):
        curve = SPEEDS.get(speed, speed)
        found[f"speed {speed}"] = drawing({**wave, "timing": {"start": 0, "end": 12, "curve": curve}})
    found["fractional start, end beyond the clip"] = drawing(line(timing={"start": 2.5, "end": 20.25}))
    hidden = {"start": 2.5, "end": 8, "before": "hidden", "after": "hidden"}
    found["hidden before and after"] = drawing(line(timing=hidden))
    found["starts before the clip"] = drawing(line(timing={"start": -6, "end": 6, "curve": "ease-in", "after": "hold"}))
    found["no time to move in"] = drawing(line(timing={"start": 5, "end": 5}))
    found["visible in ranges"] = drawing(line(visibility=[[1, 3], [7, 7], [9, 20]]), line(visibility=[]))
    found["defaults"] = drawing({"points": points(*WAVE)})
    times = [0, 0.1, 0.15, 0.7, 0.7, 1]
    stroke = {"kind": "freehand", "points": [{**p, "t": t} for p, t in zip(points(*WAVE), times)]}
    for interpolation in ("linear", "cardinal", "monotone", "step"):
        found[f"freehand, {interpolation}"] = drawing({**stroke, "interpolation": interpolation})
    timing = {"start": 1, "end": 11.5, "curve": "ease-in-out"}
    found["freehand, eased and said to be closed"] = drawing(
        {**stroke, "interpolation": "linear", "closed": True, "timing": timing})
    jumps = [{**p, "t": t} for p, t in zip(points(*WAVE), (0, 0, 0.5, 0.5, 1, 1))]
    for interpolation in ("linear", "step"):
        jumping = {**stroke, "points": jumps, "interpolation": interpolation}
        found[f"freehand that jumps, {interpolation}"] = drawing(jumping)
    found["freehand without times"] = drawing({**stroke, "points": wave["points"]})
    found["static point"] = drawing({"kind": "point", "points": points((33.3, 44.4), (1, 1))})
    found["one point of each interpolation"] = drawing(
        *({"points": points((7, 8)), "interpolation": i, "closed": True} for i in INTERPOLATIONS))
    same = points((10, 10), (10, 10), (50, 30), (50, 30), (50, 30), (90, 10))
    for interpolation in INTERPOLATIONS:
        for closed in (False, True):
            found[f"coincident points, {interpolation}{', closed' * closed}"] = drawing(
                {"points": same, "interpolation": interpolation, "closed": closed})
    found["all points the same"] = drawing(
        *({"points": points((5, 5), (5, 5)), "interpolation": i} for i in ("cardinal", "monotone", "linear")))
    found["far outside the picture"] = drawing({"points": points((-4000.5, 900), (20, -3000), (9000, 9000.125))})
    found["circle that grows"] = drawing({"kind": "circle", "points": points((100, 50)), "radius": [20, 40.5]})
    found["circle that travels and shrinks, five spokes"] = drawing(
        {**wave, "kind": "circle", "radius": [30, 0], "spokes": 5, "timing": {**timing, "curve": "ease-out"}})
    grid = {"width": 60, "height": 30.5, "columns": 4, "rows": 3}
    found["grid"] = drawing({**wave, "kind": "grid", "grid": grid})
    found["grid that is turned"] = drawing({**wave, "kind": "grid", "grid": {**grid, "angle": 30}})
    found["grid of one column, and of one point"] = drawing(
        line(kind="grid", grid={**grid, "columns": 1}), line(kind="grid", grid={**grid, "columns": 1, "rows": 1}))
    mask = [[0.51, -0.1], [1.1, 0.55], [0.52, 1.1], [-0.1, 0.45]]
    found["grid inside a mask"] = drawing(line(kind="grid", grid={**grid, "columns": 6, "rows": 5, "mask": mask}))
    found["hidden track"] = drawing(line(hidden=True), line())
    pan = {"id": "c1", "kind": "pan", "x": 30, "y": -12.5, "timing": {"start": 0, "end": 12, "curve": "ease-in-out"}}
    zoom = {"id": "c2", "kind": "zoom", "factor": 2.5, "center": [10, 20], "timing": {"start": 2, "end": 8}}
    turn = {"id": "c3", "kind": "rotate", "degrees": -135, "timing": {"start": 1.5, "end": 40}}
    for move in (pan, zoom, turn):
        found[f"camera, {move['kind']}"] = drawing(wave, camera=[move])
    found["camera, all in order, on one track"] = drawing(
        line(kind="grid", grid=grid), line(),
        camera=[pan, zoom, turn, {**zoom, "tracks": ["t2"], "factor": 0.2}, {**pan, "tracks": []}])
    found["camera that overshoots"] = drawing(
        line(), camera=[{**zoom, "timing": {"start": 0, "end": 12, "curve": SPEEDS["overshoot"]}}])
    found["one frame"] = drawing(wave, frames=1)
    return found


def vectors() -> dict:
    result = []
    for name, document in cases().items():
        path, visible = evaluate(parse(document))
        result.append({
            "name": name, "document": document,
            "paths": np.round(path.transpose(1, 0, 2), 5).tolist(),  # [tracks][frames][x, y]
            "visible": visible.T.astype(int).tolist(),
        })  # fmt: skip
    return {"about": "Made by make_spline.py: positions within 0.01 px in Python and JavaScript.", "cases": result}


if __name__ == "__main__":
    cases_ = vectors()
    lines = ",\n".join(json.dumps(case) for case in cases_["cases"])
    FILE.write_text(f'{{"about": {json.dumps(cases_["about"])}, "cases": [\n{lines}\n]}}\n', "utf-8")
