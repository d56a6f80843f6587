// The editor's document: checks, edits, history, text formats.

import assert from "node:assert/strict";
import test from "node:test";
import * as D from "../../web/editor/document.js";
import { evaluate, pointAt } from "../../web/editor/spline.js";
import { randomDocument, randomNumbers } from "./random.mjs";

const points = (...places) => places.map(([x, y]) => ({ x, y }));
const small = () => D.emptyDocument({ width: 200, height: 100, frames: 13 });
const drawn = (...tracks) => tracks.reduce((document, track) => D.addTrack(document, track), small());
const wave = { points: points([20, 60], [60, 10], [110, 90], [190, 55]) };
const apart = (p, q) => Math.hypot(p.x - q.x, p.y - q.y);
const far = (a, b) => Math.max(...a.paths.flatMap((path, i) => path.map((p, f) => apart(p, b.paths[i][f]))));

function frozen(value) {
  if (typeof value === "object" && value !== null) Object.values(Object.freeze(value)).forEach(frozen);
  return value;
}

// Reading and writing

test("a document survives its own text, unknown keys included", () => {
  for (let seed = 1; seed <= 100; seed++) {
    const document = D.validate({ ...randomDocument(seed), view: { zoom: 2 }, later: [1] });
    document.tracks[0].points[0].pressure = 0.5;
    const { document: again, error } = D.parse(D.serialise(document));
    assert.equal(error, null);
    assert.equal(D.serialise(again), D.serialise(document));
    assert.deepEqual([again.view, again.later, again.tracks[0].points[0].pressure], [{ zoom: 2 }, [1], 0.5]);
    assert.deepEqual(evaluate(again), evaluate(document), `seed ${seed}`);
  }
});

test("no text is an empty document, whatever is missing has a default", () => {
  assert.deepEqual(D.parse("  "), { document: D.emptyDocument(), error: null });
  const { tracks: [track] } = D.validate({ tracks: [{ points: [{ x: 1, y: 2 }] }] });
  const { kind, interpolation, tension, timing, visibility } = track;
  assert.deepEqual([kind, interpolation, tension, timing.end, visibility], ["spline", "cardinal", 0, 80, null]);
});

const withTrack = (track) => JSON.stringify({ tracks: [{ points: [{ x: 1, y: 1 }], ...track }] });
const faults = {
  "not valid JSON": ["{", "[1,", "nonsense"],
  "not an object": ["[]", "3", "null", '"text"'],
  "update the pack": ['{"version": 2}'],
  'Track "wing" (a), points[1].x': [withTrack({ id: "a", name: "wing", points: [{ x: 1, y: 1 }, { x: "2", y: 1 }] })],
  "points: 0 entries": ['{"tracks": [{"points": []}]}'],
  "points: undefined is not a list": ['{"tracks": [{}]}'],
  'interpolation: "smooth"': [withTrack({ interpolation: "smooth" })],
  "timing: the end 3 is before the start 5": [withTrack({ timing: { start: 5, end: 3 } })],
  "times run backwards": [withTrack({ kind: "freehand", points: [{ x: 1, y: 1, t: 1 }, { x: 1, y: 1, t: 0 }] })],
  "grid: undefined": [withTrack({ kind: "grid" })],
  "is not between": ['{"frames": 1e9}', '{"tracks": [{"points": [{"x": 1e300, "y": 1}]}]}'],
  "canvas.width": ['{"canvas": {}}', '{"canvas": {"width": 0.5, "height": 3}}'],
  "Camera move 1 (c1), kind": ['{"camera": [{"kind": "dolly"}]}'],
  "the drawing gives": [withTrack({ kind: "grid", grid: { width: 1, height: 1, columns: 256, rows: 256 } })],
};
for (const [message, texts] of Object.entries(faults)) {
  test(`what cannot be used is told: ${message}`, () => {
    for (const text of texts) {
      const { document, error } = D.parse(text);
      assert.ok(error?.includes(message), `${text}: ${error}`);
      assert.deepEqual(document, D.emptyDocument());
    }
  });
}

test("hostile names stay text, hostile colours are replaced, ids are made unique", () => {
  const name = '<img src=x onerror="alert(1)">';
  const track = { id: "a", name, color: "red;background:url(x)", points: [{ x: 1, y: 1 }] };
  const camera = [{ kind: "pan", tracks: ["a"] }];
  const { document, error } = D.parse(JSON.stringify({ tracks: [track, track], camera }));
  assert.equal(error, null);
  assert.deepEqual(document.tracks.map((t) => [t.name, /^#[0-9a-f]{6}$/.test(t.color)]), [[name, true], [name, true]]);
  assert.notEqual(document.tracks[0].id, document.tracks[1].id);
});

test("text cut off anywhere never throws", () => {
  const whole = D.serialise(D.validate(randomDocument(4)));
  for (let length = 1; length < whole.length; length += 7) assert.ok(D.parse(whole.slice(0, length)).error);
});

// Edits

test("edits change nothing in place and keep what they do not touch", () => {
  const tracks = drawn(wave, { kind: "circle", points: points([50, 50]) }, { ...wave, interpolation: "bezier" });
  const document = frozen(D.addCamera(tracks, { kind: "zoom", factor: 2 }));
  const [a, b] = document.tracks.map((track) => track.id);
  const edits = [
    D.addTrack(document, wave), D.removeTracks(document, [a]),
    D.duplicateTracks(document, [a, b]), D.reorderTrack(document, a, 1),
    D.setTracks(document, [a], { name: "x", tension: 1 }), D.setInterpolation(document, [a], "bezier"),
    D.setTiming(document, [a], { end: 5 }), D.setVisible(document, a, 2, 4, false),
    D.appendPoint(document, a, { x: 1, y: 1 }), D.insertPoint(document, a, 1, 0.5),
    D.movePoints(document, { [a]: [0, 2] }, 1, 1), D.setPoint(document, a, 0, { x: 0, y: 0 }),
    D.setHandle(document, a, 0, "out", [5, 5]), D.deletePoints(document, { [a]: [1] }),
    D.transformTracks(document, [a], { degrees: 10, sx: 2 }), D.resizeCanvas(document, 400, 200),
    D.setFrames(document, 25), D.setFps(document, 24),
    D.addCamera(document, { kind: "pan", x: 5 }), D.setCamera(document, "c1", { factor: 3 }),
    D.removeCamera(document, "c1"), D.importTracks(document, "[[1, 2], [3, 4]]"),
  ];
  for (const [index, edited] of edits.entries()) {
    assert.notEqual(D.serialise(edited), D.serialise(document), `edit ${index}`);
    assert.equal(D.serialise(D.validate(edited)), D.serialise(edited), `edit ${index} is valid`);
  }
  for (let index = 4; index < 15; index++) assert.equal(edits[index].tracks[1], document.tracks[1], `edit ${index}`);
});

test("random edits always leave a document that can be read again", () => {
  const random = randomNumbers(11);
  const number = (most) => Math.floor(random() * most);
  let document = D.validate(randomDocument(7));
  for (let step = 0; step < 400; step++) {
    const track = document.tracks[number(document.tracks.length)];
    if (!track) {
      document = D.addTrack(document, { points: points([random() * 9, 5], [3, 3]) });
      continue;
    }
    const at = number(track.points.length);
    const edits = [
      () => D.addTrack(document, { kind: ["spline", "point", "circle"][number(3)], points: points([random(), 7]) }),
      () => D.duplicateTracks(document, [track.id]),
      () => D.deletePoints(document, { [track.id]: [at] }),
      () => D.insertPoint(document, track.id, at, random()),
      () => D.appendPoint(document, track.id, { x: random() * 100, y: -4 }),
      () => D.movePoints(document, { [track.id]: [at] }, random() * 2e6 - 1e6, 1),
      () => D.transformTracks(document, [track.id], { sx: random() * 3 - 1, sy: random(), degrees: random() * 400 }),
      () => D.setFrames(document, 1 + number(30)),
      () => D.resizeCanvas(document, 1 + number(300), 1 + number(300)),
      () => D.setTiming(document, [track.id], random() < 0.5 ? { start: random() * 30 } : { end: random() * 30 }),
      () => D.setVisible(document, track.id, number(9), number(9), random() < 0.5),
      () => D.setInterpolation(document, [track.id], D.INTERPOLATIONS[number(5)]),
      () => D.setTracks(document, [track.id], { kind: D.KINDS[number(5)] }),
      () => D.removeTracks(document, [track.id]),
    ];
    document = edits[number(edits.length - (document.tracks.length < 3 ? 1 : 0))]();
    const { error } = D.parse(D.serialise(document));
    assert.equal(error, null, `step ${step}`);
  }
});

test("a point inserted into a Bézier curve leaves its shape", () => {
  const middle = { x: 100, y: 0, in: [-20, 40], out: [10, -50] };
  const handles = [{ x: 0, y: 0, out: [30, 60] }, middle, { x: 150, y: 80, in: [0, -30] }];
  const document = drawn({ points: handles, interpolation: "bezier" });
  const split = D.insertPoint(document, "t1", 1, 0.3);
  assert.equal(split.tracks[0].points.length, 4);
  assert.ok(far(evaluate(document), evaluate(split)) < 0.05);
});

test("a curve made Bézier keeps its shape", () => {
  for (const interpolation of ["cardinal", "monotone", "linear"]) {
    for (const closed of [false, true]) {
      const document = drawn({ ...wave, interpolation, closed });
      const made = D.setInterpolation(document, ["t1"], "bezier");
      assert.ok(far(evaluate(document), evaluate(made)) < 1e-6, interpolation);
    }
  }
});

test("scaling the canvas scales every position, stretching the frames keeps first and last", () => {
  const tracks = drawn({ ...wave, interpolation: "bezier" }, { kind: "point", points: points([5, 9]) });
  const document = D.addCamera(tracks, { kind: "pan", x: 20, y: 10 });
  const large = evaluate(D.resizeCanvas(document, 400, 200)).paths;
  evaluate(document).paths.forEach((path, i) => path.forEach((p, f) => {
    assert.ok(Math.hypot(p.x * 2 - large[i][f].x, p.y * 2 - large[i][f].y) < 1e-6);
  }));
  const longer = D.setFrames(D.setVisible(document, "t1", 6, 12, false), 25);
  const [was, is] = [evaluate(document).paths[0], evaluate(longer).paths[0]];
  assert.ok(Math.hypot(was[12].x - is[24].x, was[12].y - is[24].y) < 1e-6);
  assert.ok(Math.hypot(was[6].x - is[12].x, was[6].y - is[12].y) < 1e-6);
  assert.deepEqual(longer.tracks[0].visibility, [[0, 10]]);
  assert.equal(D.setFrames(document, 25, { scale: false }).tracks[0].timing.end, 12);
});

test("a quarter turn and its return give the same track", () => {
  const document = drawn({ ...wave, interpolation: "bezier" });
  const center = [30, 40];
  const turned = D.transformTracks(document, ["t1"], { degrees: 90, center });
  assert.deepEqual(D.boundsOf(turned, ["t1"]).width.toFixed(6), D.boundsOf(document, ["t1"]).height.toFixed(6));
  assert.ok(far(evaluate(document), evaluate(D.transformTracks(turned, ["t1"], { degrees: -90, center }))) < 1e-9);
});

test("visibility is kept as ranges that join and end", () => {
  let document = drawn(wave);
  const ranges = () => document.tracks[0].visibility;
  document = D.setVisible(document, "t1", 3, 5, false);
  assert.deepEqual(ranges(), [[0, 2], [6, 12]]);
  document = D.setVisible(document, "t1", 0, 0, false);
  assert.deepEqual(ranges(), [[1, 2], [6, 12]]);
  document = D.setVisible(document, "t1", 0, 12, true);
  assert.equal(ranges(), null);
});

test("tracks get free ids and the colour that is used least", () => {
  let document = drawn(...Array.from({ length: 9 }, () => wave));
  assert.equal(new Set(document.tracks.map((track) => track.color)).size, 8);
  document = D.duplicateTracks(D.removeTracks(document, ["t2"]), ["t1", "t3"]);
  assert.equal(new Set(document.tracks.map((track) => track.id)).size, document.tracks.length);
});

test("more tracks than there is room for are refused before anything changes", () => {
  const grid = { width: 9, height: 9, columns: 140, rows: 140 };
  const document = drawn({ kind: "grid", points: points([1, 1]), grid });
  assert.throws(() => D.duplicateTracks(document, ["t1"]), D.DocumentError);
});

test("a point added to a stroke gets a time between its neighbours', or after the last", () => {
  const stroke = points([0, 0], [10, 0], [20, 0]).map((point, i) => ({ ...point, t: i / 2 }));
  const document = drawn({ kind: "freehand", points: stroke });
  const times = (edited) => edited.tracks[0].points.map((point) => point.t);
  assert.deepEqual(times(D.appendPoint(document, "t1", { x: 30, y: 0 })), [0, 0.5, 1, 1.5]);
  assert.deepEqual(times(D.appendPoint(document, "t1", { x: 5, y: 5 }, 1)), [0, 0.25, 0.5, 1]);
  const longer = D.appendPoint(document, "t1", { x: 30, y: 0 }).tracks[0];
  assert.ok(Math.abs(pointAt(longer, 2 / 3).x - 20) < 1e-9 && pointAt(longer, 1).x === 30);
});

// Free hand

test("a simplified stroke stays within its tolerance of the hand at every time", () => {
  const samples = Array.from({ length: 200 }, (_, i) =>
    ({ x: 100 * Math.sin(i / 30), y: i < 100 ? i : 100 + (i - 100) / 9, time: i * 8 + (i % 3) }));
  const points = D.simplifyStroke(samples, 1);
  assert.ok(points.length < 60 && points[0].t === 0 && points.at(-1).t === 1);
  const track = drawn({ kind: "freehand", points }).tracks[0];
  const span = samples.at(-1).time;
  for (const { x, y, time } of samples) {
    const at = pointAt(track, time / span);
    assert.ok(Math.hypot(at.x - x, at.y - y) <= 1.0001);
  }
  assert.deepEqual(D.simplifyStroke([{ x: 1, y: 2, time: 5 }]), [{ x: 1, y: 2, t: 0 }]);
});

// History

test("undo and redo walk through the steps, and a drag is one", () => {
  const history = new D.History("a");
  history.push("b", { label: "add" });
  for (const step of ["c", "d", "e"]) history.push(step, { label: "move", group: "drag" });
  history.endGroup();
  history.push("f", { group: "drag" });
  assert.deepEqual([history.undo(), history.undoLabel, history.undo()], ["e", "move", "b"]);
  assert.deepEqual([history.undo(), history.undo()], ["a", "a"]);
  assert.deepEqual([history.redoLabel, history.redo(), history.redo(), history.canRedo], ["add", "b", "e", true]);
  history.push("g");
  assert.deepEqual([history.canRedo, history.redo(), history.undo()], [false, "g", "e"]);
});

test("a cancelled drag leaves no step, and old steps are forgotten", () => {
  const history = new D.History(0, { limit: 3 });
  for (let i = 1; i <= 9; i++) history.push(i);
  history.push("dragged", { group: "drag" });
  assert.equal(history.cancelGroup(), 9);
  const back = [history.undo(), history.undo(), history.undo()];
  assert.deepEqual(back.at(-1) >= 6, true);
  assert.equal(new D.History(1).undo(), 1);
});

// Formats

test("coordinates go out and come in again at every frame", () => {
  const document = D.setVisible(drawn(wave, { kind: "point", points: points([3.25, -4]) }), "t1", 0, 3, false);
  for (const format of ["coordinates", "tracks"]) {
    const [{ text }] = D.exportTracks(document, format);
    const value = JSON.parse(text);
    delete value.editor; // as another program would write it
    const again = D.importTracks(small(), JSON.stringify(value));
    assert.deepEqual(again.tracks.map((track) => track.kind), ["freehand", "point"]);
    const [was, is] = [evaluate(document), evaluate(again)];
    assert.ok(far(was, is) < 1e-4);
    assert.deepEqual(is.paths[0].map((p) => p.visible), was.paths[0].map((p) => p.visible));
  }
});

test("a track file of this pack brings its drawing back", () => {
  const [{ text }] = D.exportTracks(drawn(wave), "tracks");
  assert.deepEqual(D.importTracks(small(), text).tracks[0].points, wave.points);
});

test("a few points of KJNodes become a spline, Python's quotes are read", () => {
  const text = "[{'x': 1, 'y': 2}, {'x': 30.5, 'y': 4}, {'x': 5, 'y': 60}]";
  const document = D.importTracks(drawn(wave), text, { name: "kj" });
  const track = document.tracks.at(-1);
  assert.deepEqual([track.kind, track.name, track.points[1]], ["spline", "kj", { x: 30.5, y: 4 }]);
});

test("Tora's lines are of a 256 x 256 space", () => {
  const document = D.importTracks(drawn(wave), "128,64\n 255, 256\n");
  assert.deepEqual(evaluate(document).paths[1].at(-1), { x: (255 * 200) / 256, y: 100, visible: true });
  const [{ text }] = D.exportTracks(D.removeTracks(document, ["t1"]), "tora");
  assert.deepEqual([text.split("\n")[0], text.split("\n")[12]], ["128,64", "255,256"]);
});

test("pasted tracks are scaled to the other canvas and clip, with ids of their own", () => {
  const source = drawn(wave, wave);
  const target = D.addTrack(D.emptyDocument({ width: 400, height: 200, frames: 25 }), wave);
  const pasted = D.importTracks(target, D.copyTracks(source, ["t2"]));
  assert.deepEqual(pasted.tracks.map((track) => track.id), ["t1", "t2"]);
  assert.deepEqual([pasted.tracks[1].points[0], pasted.tracks[1].timing.end], [{ x: 40, y: 120 }, 24]);
});

test("text that holds no tracks is refused with a reason", () => {
  const file = '{"format": "trajectory-tracks", "canvas": [0, 0]}';
  for (const text of ["", "hello", "[]", "[[]]", "{}", file, '[[1, "a"]]', "[1, 2]", "[[null, null]]"]) {
    assert.throws(() => D.importTracks(drawn(wave), text), D.DocumentError, text);
  }
});

test("a grid that is turned takes its points, its corners and its box with it", () => {
  const grid = { width: 40, height: 20, columns: 2, rows: 2 };
  const before = drawn({ kind: "grid", points: points([100, 50]), grid });
  const after = D.transformTracks(before, ["t1"], { degrees: 90 });
  const seen = evaluate(after, [0]).paths.map(([{ x, y }]) => [Math.round(x), Math.round(y)]);
  assert.deepEqual(seen, [[110, 30], [110, 70], [90, 30], [90, 70]]);
  const { x, y, width, height } = D.boundsOf(after, ["t1"]);
  assert.deepEqual([x, y, width, height].map(Math.round), [90, 30, 20, 40]);
  const back = D.transformTracks(after, ["t1"], { degrees: -90 });
  assert.equal(back.tracks[0].grid.angle, 0);
});
