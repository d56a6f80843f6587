// The editor without a page: pointers replayed into tools, steps, undo, size, text in and out.

import assert from "node:assert/strict";
import { test } from "node:test";

import { parse } from "../../web/editor/document.js";
import { Editor } from "../../web/editor/editor.js";
import { boxOf, hitsAt } from "../../web/editor/selection.js";
import { snapped } from "../../web/editor/tools/snap.js";
import { toolById } from "../../web/editor/tools/index.js";
import { fit, toDocument, toScreen, zoomAt } from "../../web/editor/viewport.js";

const NONE = { shiftKey: false, ctrlKey: false, altKey: false, metaKey: false };

function context(editor, x, y, keys, time) {
  const box = editor.tool === "select" && boxOf(editor.document, editor.selection) !== null;
  const hits = hitsAt(editor.document, { selection: editor.selection, box, scale: 1, reach: 8 }, x, y);
  return { editor, at: { x, y }, hits, event: { ...NONE, ...keys, timeStamp: time }, reach: 8, scale: 1 };
}

/** What stage.js does with a pointer that goes down at the first place, through the others, and up. */
function drag(editor, places, keys = {}) {
  const [[x, y], ...others] = places;
  editor.begin();
  const gesture = toolById(editor.tool).start(context(editor, x, y, keys, 0));
  let time = 0;
  for (const [px, py] of others) {
    const event = { ...NONE, ...keys, timeStamp: (time += 16) };
    gesture?.every?.({ x: px, y: py }, event);
    gesture?.move({ x: px, y: py }, event);
  }
  gesture?.end?.({ x, y }, NONE);
  editor.end();
}

const click = (editor, x, y, keys) => drag(editor, [[x, y]], keys);

function drawn(points = [[100, 100], [200, 100], [200, 200]]) {
  const saved = [];
  const editor = new Editor({ save: (text) => saved.push(text) });
  for (const [x, y] of points) click(editor, x, y);
  editor.finish();
  return { editor, saved, track: () => editor.document.tracks[0] };
}

const places = (track) => track.points.map(({ x, y }) => [x, y]);

test("clicks of the spline tool make one track, each a step that is saved", () => {
  const { editor, saved, track } = drawn();
  assert.deepEqual(places(track()), [[100, 100], [200, 100], [200, 200]]);
  assert.equal(saved.length, 3);
  assert.deepEqual(parse(saved.at(-1)).document, editor.document);
});

test("after Enter the next click begins another track", () => {
  const { editor } = drawn();
  click(editor, 500, 400);
  assert.equal(editor.document.tracks.length, 2);
});

test("points may lie outside the canvas, with parts of a pixel", () => {
  const { track } = drawn([[-50.25, -20.5], [2000.125, 3]]);
  assert.deepEqual(places(track()), [[-50.25, -20.5], [2000.125, 3]]);
});

test("a drag of a point is one step, whatever its length, and undo and redo take it back and forth", () => {
  const { editor, track } = drawn();
  drag(editor, [[200, 100], [210, 110], [220, 120], [240, 130]]);
  assert.deepEqual(places(track())[1], [240, 130]);
  editor.undo();
  assert.deepEqual(places(track())[1], [200, 100]);
  editor.redo();
  assert.deepEqual(places(track())[1], [240, 130]);
});

test("a click on the selected curve inserts a point there", () => {
  const { editor, track } = drawn([[100, 100], [300, 100]]);
  click(editor, 200, 103);
  assert.equal(track().points.length, 3);
  assert.ok(Math.abs(track().points[1].x - 200) < 1 && Math.abs(track().points[1].y - 100) < 1);
});

test("a drag that is cancelled leaves nothing behind, not even a step", () => {
  const { editor } = drawn();
  const before = editor.document;
  const steps = editor.history.past.length;
  editor.begin();
  const gesture = toolById("spline").start(context(editor, 200, 100, {}, 0));
  gesture.move({ x: 300, y: 300 }, NONE);
  editor.cancel();
  assert.equal(editor.document, before);
  assert.equal(editor.history.past.length, steps);
});

test("delete removes the chosen points, and the track where none are chosen", () => {
  const { editor, track } = drawn();
  editor.select(new Map([["t1", new Set([1])]]));
  editor.remove();
  assert.deepEqual(places(track()), [[100, 100], [200, 200]]);
  editor.selectTracks(["t1"]);
  editor.remove();
  assert.equal(editor.document.tracks.length, 0);
});

test("Alt-drag leaves the original where it was", () => {
  const { editor } = drawn();
  editor.setTool("select");
  editor.selectTracks(["t1"]);
  drag(editor, [[100, 100], [110, 100], [150, 100]], { altKey: true });
  assert.equal(editor.document.tracks.length, 2);
  assert.deepEqual(places(editor.document.tracks[0])[0], [100, 100]);
  assert.deepEqual(places(editor.document.tracks[1])[0], [150, 100]);
});

test("a marquee takes whole tracks and parts of others", () => {
  const { editor } = drawn();
  editor.setTool("select");
  drag(editor, [[150, 50], [300, 250]]);
  assert.deepEqual([...editor.selection.get("t1")], [1, 2]);
  drag(editor, [[50, 50], [300, 250]]);
  assert.equal(editor.selection.get("t1").size, 0);
});

test("clicks at one place go through what lies under it", () => {
  const editor = new Editor();
  for (const id of ["a", "b"]) editor.paste(JSON.stringify({ tracks: [{ id, points: [{ x: 50, y: 50 }, { x: 90, y: 50 }] }] }));
  editor.setTool("select");
  editor.select(new Map());
  const seen = new Set();
  for (let i = 0; i < 8; i++) {
    click(editor, 50, 50);
    seen.add([...editor.selection.keys()][0]);
  }
  assert.deepEqual([...seen].sort(), ["a", "b"]);
});

test("the box scales and turns whole tracks", () => {
  const { editor, track } = drawn();
  editor.setTool("select");
  editor.selectTracks(["t1"]);
  drag(editor, [[212, 212], [224, 224], [312, 312]]);
  const [first, , last] = places(track());
  assert.ok(Math.hypot(first[0] - 100, first[1] - 100) < 1e-6);
  assert.ok(last[0] > 270 && last[1] > 270);
});

test("a stroke keeps the hand's speed", () => {
  const editor = new Editor();
  editor.setTool("freehand");
  const slow = Array.from({ length: 40 }, (_, i) => [100 + i, 100]);
  const fast = Array.from({ length: 10 }, (_, i) => [140 + i * 20, 100]);
  drag(editor, [...slow, ...fast]);
  const [track] = editor.document.tracks;
  assert.equal(track.kind, "freehand");
  const turn = track.points.find(({ x }) => x > 130 && x < 170);
  assert.ok(turn.t > 0.7, "the slow part takes most of the time");
});

test("locked tracks are not hit, hidden ones neither", () => {
  const { editor } = drawn();
  editor.selectTracks(["t1"]);
  editor.toggle("locked");
  editor.setTool("select");
  assert.deepEqual(context(editor, 200, 100, {}, 0).hits, []);
  drag(editor, [[200, 100], [300, 300]]);
  assert.deepEqual(places(editor.document.tracks[0])[1], [200, 100]);
});

test("K hides the track from the frame on, and shows it again", () => {
  const { editor, track } = drawn();
  editor.selectTracks(["t1"]);
  editor.setFrame(20);
  editor.toggleVisible();
  assert.deepEqual(track().visibility, [[0, 19]]);
  editor.setFrame(40);
  editor.toggleVisible();
  assert.deepEqual(track().visibility, [[0, 19], [40, 80]]);
});

test("another size of the node scales what is drawn and is no step", () => {
  const { editor, track } = drawn();
  const steps = editor.history.past.length;
  editor.conform({ width: 416, height: 240, frames: 161, fps: 24 });
  assert.deepEqual(places(track()), [[50, 50], [100, 50], [100, 100]]);
  assert.equal(track().timing.end, 160);
  assert.equal(editor.history.past.length, steps);
  editor.undo();
  assert.deepEqual(editor.document.canvas, { width: 416, height: 240 });
});

test("the picture gives the size where the node gives none", () => {
  const { editor, track } = drawn([[416, 240], [832, 480]]);
  editor.setPicture({ image: {}, width: 400, height: 400 });
  assert.deepEqual(editor.document.canvas, { width: 400, height: 400 });
  assert.deepEqual(places(track()), [[200, 200], [400, 400]]);
});

test("a text that cannot be read is kept and cannot be edited over, until the user starts anew", () => {
  const saved = [];
  const editor = new Editor({ save: (text) => saved.push(text) });
  editor.load('{"version": 1, "tracks": [{"points"');
  assert.match(editor.error, /JSON/);
  click(editor, 10, 10);
  editor.save();
  assert.deepEqual(saved, []);
  assert.equal(editor.text, '{"version": 1, "tracks": [{"points"');
  editor.reset();
  assert.equal(editor.error, null);
  assert.equal(saved.length, 1);
});

test("looking changes nothing: moving the view, playing and selecting save no text", () => {
  const saved = [];
  const editor = new Editor({ save: (text) => saved.push(text) });
  editor.begin();
  editor.end();
  editor.setFrame(7);
  editor.selectAll();
  editor.setTool("hand");
  assert.deepEqual(saved, []);
  assert.equal(editor.text, "");
});

test("copied tracks are pasted into another editor at its own size", () => {
  const { editor } = drawn();
  editor.selectAll();
  const text = editor.copy();
  const other = new Editor({ size: { width: 416, height: 240 } });
  assert.ok(other.paste(text));
  assert.deepEqual(places(other.document.tracks[0])[1], [100, 50]);
});

test("Shift keeps to axes and diagonals, Ctrl to the grid", () => {
  const at = { x: 107, y: 13 };
  assert.deepEqual(snapped(at, { shiftKey: true }, { x: 0, y: 0 }), { x: 107, y: 0 });
  assert.deepEqual(snapped(at, { ctrlKey: true }, null), { x: 104, y: 16 });
  assert.deepEqual(snapped(at, {}, { x: 0, y: 0 }), at);
});

test("zooming holds the place under the pointer", () => {
  const view = fit({ width: 832, height: 480 }, 500, 400);
  const before = toDocument(view, 123, 77);
  const zoomed = zoomAt(view, 3, 123, 77);
  const after = toScreen(zoomed, before.x, before.y);
  assert.ok(Math.hypot(after.x - 123, after.y - 77) < 1e-9);
});

test("a shape that is drawn round becomes a grid that fills it", () => {
  const editor = new Editor();
  editor.setTool("grid");
  const round = Array.from({ length: 33 }, (_, i) => [200 + 100 * Math.cos((i * Math.PI) / 16), 200 + 50 * Math.sin((i * Math.PI) / 16)]);
  drag(editor, round, { altKey: true });
  const [{ kind, grid, points }] = editor.document.tracks;
  assert.equal(kind, "grid");
  assert.ok(Math.abs(grid.width - 200) < 1e-6 && Math.abs(grid.height - 100) < 1e-6);
  assert.ok(Math.hypot(points[0].x - 200, points[0].y - 200) < 1e-6);
  assert.ok(grid.mask.length > 16);
});

test("a node without a size, cleared or broken, still has a canvas", () => {
  const editor = new Editor({ size: { width: 0, height: 0, frames: 9, fps: 8 } });
  for (const text of ["{", "", "[]"]) {
    editor.load(text);
    assert.ok(editor.document.canvas.width > 0 && editor.document.canvas.height > 0);
    assert.equal(editor.document.frames, 9);
  }
});
