// The editor's maths: the positions of tests/vectors/spline.json, and what must hold for any drawing.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { curve, ease, evaluate, nearest, pointAt, segments } from "../../web/editor/spline.js";
import { validate } from "../../web/editor/document.js";
import { randomDocument, randomNumbers } from "./random.mjs";

const { cases } = JSON.parse(readFileSync(new URL("../vectors/spline.json", import.meta.url), "utf-8"));

for (const { name, document, paths, visible } of cases) {
  test(`positions are Python's: ${name}`, () => {
    const found = evaluate(validate(document));
    assert.equal(found.paths.length, paths.length);
    paths.forEach((path, track) => {
      assert.equal(found.paths[track].length, path.length);
      path.forEach(([x, y], frame) => {
        const at = found.paths[track][frame];
        const distance = Math.hypot(at.x - x, at.y - y);
        assert.ok(distance <= 0.01, `track ${track}, frame ${frame}: ${distance} px off`);
        assert.equal(at.visible, Boolean(visible[track][frame]), `track ${track}, frame ${frame}: visibility`);
      });
    });
  });
}

test("no drawing gives a position that is not a number, and every frame is there", () => {
  for (let seed = 1; seed <= 300; seed++) {
    const document = validate(randomDocument(seed));
    const { paths, owners } = evaluate(document);
    assert.equal(paths.length, owners.length);
    for (const path of paths) {
      assert.equal(path.length, document.frames);
      assert.ok(path.every(({ x, y }) => Number.isFinite(x) && Number.isFinite(y)), `seed ${seed}`);
    }
  }
});

test("a track is at its first point before its time and at its last one after it", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const document = validate({ ...randomDocument(seed), camera: [] });
    for (const track of document.tracks) {
      const last = track.closed && track.kind !== "freehand" ? track.points[0] : track.points.at(-1);
      const [from, to] = [pointAt(track, 0), pointAt(track, 1)];
      assert.ok(Math.hypot(from.x - track.points[0].x, from.y - track.points[0].y) < 1e-6, `seed ${seed}`);
      if (track.kind !== "point") assert.ok(Math.hypot(to.x - last.x, to.y - last.y) < 1e-6, `seed ${seed}`);
    }
  }
});

test("linear speed is constant along the curve", () => {
  const track = validate(cases.find(({ name }) => name === "cardinal").document).tracks[0];
  const { total } = curve(track);
  const fine = Array.from({ length: 1001 }, (_, i) => pointAt(track, i / 1000));
  for (let i = 1; i < fine.length; i++) {
    const step = Math.hypot(fine[i].x - fine[i - 1].x, fine[i].y - fine[i - 1].y);
    assert.ok(Math.abs(step - total / 1000) < 0.02 * (total / 1000), `step ${i}: ${step}`);
  }
});

test("easing begins at 0, ends at 1 and rises with presets", () => {
  for (const speed of ["linear", "ease-in", "ease-out", "ease-in-out"]) {
    const values = Array.from({ length: 101 }, (_, i) => ease(speed, i / 100));
    assert.deepEqual([values[0], values[100]], [0, 1]);
    for (let i = 1; i <= 100; i++) assert.ok(values[i] > values[i - 1]);
  }
  assert.ok(Math.abs(ease("ease-in-out", 0.5) - 0.5) < 1e-12);
});

test("the nearest place of a curve is on it, at the share that it says", () => {
  const random = randomNumbers(5);
  for (const { document } of cases) {
    const track = validate(document).tracks[0];
    if (track.interpolation === "step" || track.kind === "freehand") continue;
    const [x, y] = [random() * 200, random() * 100];
    const found = nearest(track, x, y);
    const at = pointAt(track, found.share);
    assert.ok(Math.hypot(at.x - found.x, at.y - found.y) < 0.01);
    assert.ok(found.segment >= 0 && found.segment < Math.max(segments(track).length, 1) && found.u >= 0 && found.u <= 1);
    const samples = Array.from({ length: 500 }, (_, i) => pointAt(track, i / 499));
    assert.ok(samples.every((p) => Math.hypot(p.x - x, p.y - y) >= found.distance - 0.05));
  }
});
