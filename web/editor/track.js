// Draws one track: its curve, when the point is where, which way it goes, where it starts. Keeps no state but what it has
// worked out of (never mutated) track objects.

import { DARK, discs, dots, stroke, thin, ticks } from "./ink.js";
import { cameraMatrix, pointAt, segments, shareAt, timingOf, visibleAt } from "./spline.js";

/** @type {WeakMap<object, Path2D>} */
const paths = new WeakMap();

function pathOf(track) {
  let path = paths.get(track);
  if (path) return path;
  path = new Path2D();
  const parts = segments(track);
  if (parts.length) path.moveTo(parts[0][0], parts[0][1]);
  for (const [, , ax, ay, bx, by, x, y] of parts) path.bezierCurveTo(ax, ay, bx, by, x, y);
  paths.set(track, path);
  return path;
}

/** @param {import("./view.js").Scene} scene */
export function drawTrack(ctx, scene, track, selected) {
  const { scale } = scene.viewport;
  const faded = track.locked && !selected;
  ctx.globalAlpha = faded ? 0.45 : 1;
  ctx.lineJoin = ctx.lineCap = "round";
  const path = pathOf(track);
  if (selected) stroke(ctx, path, track.color, 2.5 / scale, 3 / scale);
  else thin(ctx, path, track.color, scene);
  if (track.points.length > 1 && track.kind !== "point") {
    const { frames, seconds } = timesOf(track, scene.document.frames, scene.document.fps);
    ticks(ctx, frames, scene);
    dots(ctx, seconds, scene);
    drawArrow(ctx, scene, track);
  }
  if (!selected || scene.compact) drawFirst(ctx, scene, track);
  if (scene.document.camera?.length) drawSeen(ctx, scene, track);
  ctx.globalAlpha = 1;
}

/** @type {WeakMap<object, {key: string, frames: Float64Array, seconds: number[]}>} */
const moments = new WeakMap();
const MOST = 128; // marks on a track

/**
 * Where the point is at each frame (x, y and the unit vector across its way) and at whole seconds (x, y): dense where the
 * motion is slow.
 */
function timesOf(track, count, fps) {
  const key = `${count} ${fps}`;
  let found = moments.get(track);
  if (found?.key === key) return found;
  const timing = timingOf(track, count);
  const at = (frame) => pointAt(track, shareAt(timing, frame));
  const frames = [];
  const step = Math.max(1, Math.ceil(count / MOST));
  let [before, now] = [at(-step), at(0)];
  for (let frame = 0; frame < count; frame += step) {
    const after = at(frame + step);
    const [dx, dy] = [after.x - before.x, after.y - before.y];
    const way = Math.hypot(dx, dy);
    if (way && visibleAt(track, count, frame)) frames.push(now.x, now.y, -dy / way, dx / way);
    [before, now] = [now, after];
  }
  const seconds = [];
  for (let second = 0; second * fps < count; second++) {
    const frame = second * fps;
    if (frame < timing.start || frame > timing.end) continue;
    const { x, y } = at(frame);
    seconds.push(x, y);
  }
  found = { key, frames: Float64Array.from(frames), seconds };
  moments.set(track, found);
  return found;
}

/** @type {WeakMap<object, {x: number, y: number, angle: number}>} */
const ends = new WeakMap();

function endOf(track) {
  let found = ends.get(track);
  if (found) return found;
  const [, , , , bx, by, x, y] = segments(track).at(-1);
  const before = Math.hypot(x - bx, y - by) > 1e-6 ? { x: bx, y: by } : track.points.at(-2);
  ends.set(track, (found = { x, y, angle: Math.atan2(y - before.y, x - before.x) }));
  return found;
}

/** Which way it goes, at the end. */
function drawArrow(ctx, { viewport: { scale } }, track) {
  const { x, y, angle } = endOf(track);
  const cos = Math.cos(angle) / scale;
  const sin = Math.sin(angle) / scale;
  for (const [color, tip, tail, half] of [[DARK, 10.8, 9.8, 8.2], [track.color, 8.2, 8.2, 5.9]]) {
    ctx.beginPath();
    ctx.moveTo(x + tip * cos, y + tip * sin);
    ctx.lineTo(x - tail * cos - half * sin, y - tail * sin + half * cos);
    ctx.lineTo(x - tail * cos + half * sin, y - tail * sin - half * cos);
    ctx.fillStyle = color;
    ctx.fill();
  }
}

export function drawFirst(ctx, scene, track) {
  const { scale } = scene.viewport;
  const { x, y } = track.points[0];
  discs(ctx, [x, y], 4.3 / scale, track.color, scene);
}

/** @type {WeakMap<object, {document: object, path: Path2D}>} */
const seen = new WeakMap();

/** The way of the point over the picture once the camera has moved too: dashed. */
function drawSeen(ctx, scene, track) {
  const { document, viewport } = scene;
  let found = seen.get(track);
  if (!found || found.camera !== document.camera || found.frames !== document.frames || found.canvas !== document.canvas) {
    const path = new Path2D();
    const timing = timingOf(track, document.frames);
    for (let frame = 0; frame < document.frames; frame++) {
      const { x, y } = pointAt(track, shareAt(timing, frame));
      const [a, b, c, d, e, f] = cameraMatrix(document, track.id, frame);
      path.lineTo(a * x + c * y + e, b * x + d * y + f);
    }
    found = { camera: document.camera, frames: document.frames, canvas: document.canvas, path };
    seen.set(track, found);
  }
  ctx.setLineDash([6 / viewport.scale, 5 / viewport.scale]);
  stroke(ctx, found.path, track.color, 1.25 / viewport.scale, 1.5 / viewport.scale);
  ctx.setLineDash([]);
}
