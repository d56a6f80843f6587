"""Coordinates as text: every layout in circulation is read, everything else is refused by track and point."""

import json
import math

import pytest
import torch
from comfyui_trajectory.trajectory import Tracks, TracksError, parse_coordinates, to_coordinates
from comfyui_trajectory.trajectory.coordinates import parse_batches

A = [{"x": 1, "y": 2}, {"x": 3.5, "y": -4.25}]
B = [{"x": 10, "y": 20}, {"x": 30, "y": 40}, {"x": 50, "y": 60}]


def shape(text, **options):
    tracks = parse_coordinates(text, **options)
    return tracks.frames, tracks.count


@pytest.mark.parametrize("text, expected", [
    (json.dumps(A), (2, 1)),
    (json.dumps([A, A]), (2, 2)),
    (json.dumps([[A, A], [A]]), (2, 3)),
    (json.dumps([A] * 12), (2, 12)),
    (str([A, A]), (2, 2)),  # single quotes
    ("[[1, 2], [3.5, 4]]", (2, 1)),
    ("[[[1, 2], [3.5, 4]], [[5, 6], [7, 8]]]", (2, 2)),
    ('[{"x": 1, "y": 2}]', (1, 1)),
    ([json.dumps(A), json.dumps(B)], (3, 2)),  # a list of texts
    (json.dumps([A, B]), (3, 2)),  # unequal lengths
    ('[[{"x": 5, "y": 5, "control": [1, 2]}]]', (1, 1)),  # keys of other editors
])  # fmt: skip
def test_every_layout_in_circulation_is_read(text, expected):
    assert shape(text) == expected


def test_floats_and_positions_off_the_canvas_stay_as_they_are():
    tracks = parse_coordinates(json.dumps(A), canvas=(2, 2))
    assert tracks.path[:, 0].tolist() == [[1, 2], [3.5, -4.25]] and tracks.canvas == (2, 2)


def test_each_track_is_resampled_in_time_on_its_own():
    tracks = parse_coordinates(json.dumps([A, B]), frames=5)
    assert tracks.path[:, 0, 0].tolist() == [1, 1.625, 2.25, 2.875, 3.5]
    assert tracks.path[:, 1, 0].tolist() == [10, 20, 30, 40, 50]


def test_batches_are_told_by_depth_not_by_length():
    assert [len(entry) for entry in parse_batches(json.dumps([[A] * 12, [B]]))] == [12, 1]
    assert [len(entry) for entry in parse_batches(json.dumps([A] * 12))] == [12]


def test_visibility_is_read_and_written():
    text = "[{'x': 1, 'y': 2, 'visible': True}, {'x': 1, 'y': 2, 'visible': False}, [3, 4, 1]]"
    tracks = parse_coordinates(text)
    assert tracks.visibility[:, 0].tolist() == [True, False, True]
    assert parse_coordinates(to_coordinates(tracks)).visibility.tolist() == tracks.visibility.tolist()


@pytest.mark.parametrize("count", [1, 11])
def test_writing_and_reading_back_is_exact(count):
    tracks = Tracks(torch.randn(7, count, 2) * 300, torch.rand(7, count) > 0.3)
    again = parse_coordinates(to_coordinates(tracks))
    assert torch.equal(again.path, tracks.path) and torch.equal(again.visibility, tracks.visibility)


def test_one_track_is_written_flat_as_single_track_nodes_expect():
    assert to_coordinates(Tracks([[[1, 2.5]]], [[True]])) == '[{"x": 1.0, "y": 2.5}]'


@pytest.mark.parametrize("text, message", [
    ("", "empty"),
    ("   ", "empty"),
    ("[]", "hold no tracks; expected"),
    ("[[]]", "no points"),
    ("[[{'x': 1, 'y': 2}], []]", "Track 1.*no points"),
    ("hello", "not valid JSON"),
    ("[{'x': 1, 'y': 2}", "not valid JSON"),
    ("__import__('os').system('true')", "not valid JSON"),
    ('{"x": 1, "y": 2}', "list of points"),
    ("42", "list of points"),
    ("[1, 2, 3]", "a list of points is needed"),
    ('[{"x": 1}]', "Track 0, point 0.*'y' is missing"),
    ('[[{"x": 1, "y": 2}], [{"x": 1, "y": 2}, {"x": NaN, "y": 2}]]', "Track 1, point 1.*x is nan"),
    ('[{"x": Infinity, "y": 2}]', "point 0.*inf"),
    ('[{"x": 1, "y": -1e999}]', "y is -inf"),
    ('[{"x": 1, "y": 1e12}]', "y is beyond"),
    ('[{"x": 1' + "0" * 400 + ', "y": 1}]', "x is beyond"),
    ('[{"x": true, "y": 1}]', "x is true or false"),
    ('[{"x": "7", "y": 1}]', "x is the text '7'"),
    ('[{"x": null, "y": 1}]', "x is null"),
    ('[{"x": [1], "y": 1}]', "x is a list"),
    ('[{"x": 1, "y": 1, "visible": "yes"}]', "visible is the text"),
    ("[[1, 2], [3]]", "point 1.*2|point 1.*visible"),
    ('[[{"x": 1, "y": 2}], {"x": 1, "y": 2}]', "stands among lists"),
    ("[" * 60 + "]" * 60, "deep"),
    ("[" * 200_000, "not valid JSON"),
])  # fmt: skip
def test_what_is_no_track_is_refused_by_track_and_point(text, message):
    with pytest.raises(TracksError, match=message):
        parse_coordinates(text)


def test_a_gigantic_text_is_refused_before_it_is_read():
    with pytest.raises(TracksError, match="characters"):
        parse_coordinates(" " * (64 * 1024 * 1024 + 1))


def test_lengths_that_multiply_beyond_memory_are_refused():
    long = [[0, 0]] * 5000
    with pytest.raises(TracksError, match="at most"):
        parse_coordinates(json.dumps([long] + [[[0, 0]]] * 5000))


def test_something_that_is_no_text_is_refused():
    with pytest.raises(TracksError, match="JSON text"):
        parse_coordinates([1, 2])


def test_not_a_number_in_python_spelling_names_its_point_too():
    with pytest.raises(TracksError, match="point 0.*nan"):
        parse_coordinates(str([{"x": math.nan, "y": 1}]))
