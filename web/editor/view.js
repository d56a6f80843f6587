// Draws a document: draw(context, scene). It keeps no state but paths cached by (never mutated) track objects, and knows
// no events. Two layers, so that a drag redraws only what is selected: `drawBack` the picture and the tracks at rest,
// `drawFront` the selected tracks, their handles and where every point is at the frame.

import { cameraMatrix, evaluate, gridPlace, pointAt, segments, shareAt, timingOf, visibleAt } from "./spline.js";
import { boxHandles, boxOf, gridCorners } from "./selection.js";

/**
 * @typedef {{document: object, viewport: import("./viewport.js").Viewport, width: number, height: number, ratio: number,
 *   frame: number, picture: CanvasImageSource|null, selection: Map<string, Set<number>>, hover: object|null,
 *   marquee: object|null, box: boolean, touch: boolean}} Scene  width, height: the window in CSS pixels; ratio: device pixels each
 */

const DARK = "rgba(0,0,0,.75)";
const LIGHT = "#ffffff";

/** The picture, dimmed outside the canvas, and the curves of all tracks that are not selected. @param {Scene} scene */
export function drawBack(ctx, scene) {
  const { document, viewport, width, height, ratio, picture } = scene;
  const { width: w, height: h } = document.canvas;
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  toPicture(ctx, scene);
  ctx.fillStyle = "#161616";
  ctx.fillRect(0, 0, w, h);
  if (picture) {
    ctx.imageSmoothingEnabled = viewport.scale < 4;
    ctx.drawImage(picture, 0, 0, w, h);
  } else drawPaper(ctx, w, h, viewport.scale);
  ctx.lineWidth = 1 / viewport.scale;
  ctx.strokeStyle = "rgba(255,255,255,.35)";
  ctx.strokeRect(0, 0, w, h);
  for (const track of document.tracks) {
    if (!track.hidden && !scene.selection.has(track.id)) drawTrack(ctx, scene, track, false);
  }
}

/** Selected tracks, handles, and every point at the frame. @param {Scene} scene */
export function drawFront(ctx, scene) {
  const { document, width, height, ratio, selection } = scene;
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  toPicture(ctx, scene);
  const chosen = document.tracks.filter((track) => !track.hidden && selection.has(track.id));
  for (const track of chosen) drawTrack(ctx, scene, track, true);
  for (const track of chosen) drawHandles(ctx, scene, track);
  if (scene.box) drawBox(ctx, scene);
  drawHeads(ctx, scene);
  if (scene.hover?.ghost) drawGhost(ctx, scene, scene.hover.ghost);
  if (scene.marquee) drawMarquee(ctx, scene, scene.marquee);
}

function toPicture(ctx, { viewport: { x, y, scale }, ratio }) {
  ctx.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * x, ratio * y);
}

/** Squares where there is no picture yet, so that size and distance can be judged. */
function drawPaper(ctx, w, h, scale) {
  ctx.beginPath();
  for (let x = 64; x < w; x += 64) ctx.rect(x, 0, 0, h);
  for (let y = 64; y < h; y += 64) ctx.rect(0, y, w, 0);
  ctx.lineWidth = 1 / scale;
  ctx.strokeStyle = "rgba(255,255,255,.07)";
  ctx.stroke();
}

// One track

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

function drawTrack(ctx, scene, track, selected) {
  const { scale } = scene.viewport;
  const faded = track.locked && !selected;
  ctx.globalAlpha = faded ? 0.45 : 1;
  ctx.lineJoin = ctx.lineCap = "round";
  const path = pathOf(track);
  if (!selected && scene.ratio <= 1.25) fine(ctx, path, track.color, scene);
  else stroke(ctx, path, track.color, (selected ? 2.5 : 1.75) / scale, (selected ? 3 : 2) / scale);
  if (track.points.length > 1 && track.kind !== "point") {
    drawTimes(ctx, scene, track);
    drawArrow(ctx, scene, track);
  }
  if (!selected || scene.compact) drawFirst(ctx, scene, track);
  if (scene.document.camera?.length) drawSeen(ctx, scene, track);
  ctx.globalAlpha = 1;
}

const EDGE = [[-1, 0], [1, 0], [0, -1], [0, 1]];
const CORE = [[0, 0], [0.5, 0.5]];

/**
 * The same line as `stroke` makes, of lines of one device pixel beside each other: without a graphics card a browser draws
 * those ten times as fast as wide ones. Where pixels are smaller than a CSS pixel they would not touch.
 */
function fine(ctx, path, color, { viewport: { scale }, ratio }) {
  ctx.lineWidth = 0.99 / scale / ratio;
  for (const [style, places] of [[DARK, EDGE], [color, CORE]]) {
    ctx.strokeStyle = style;
    for (const [x, y] of places) {
      ctx.translate(x / scale, y / scale);
      ctx.stroke(path);
      ctx.translate(-x / scale, -y / scale);
    }
  }
}

function stroke(ctx, path, color, width, edge) {
  ctx.strokeStyle = DARK;
  ctx.lineWidth = width + edge;
  ctx.stroke(path);
  ctx.strokeStyle = color;
  ctx.lineWidth = width;
  ctx.stroke(path);
}

/** @type {WeakMap<object, {key: string, small: number[], large: number[]}>} */
const moments = new WeakMap();

/** Where the point is at each frame, large at whole seconds: dense where the motion is slow. */
function timesOf(track, frames, fps) {
  const key = `${frames} ${fps}`;
  let found = moments.get(track);
  if (found?.key === key) return found;
  const timing = timingOf(track, frames);
  const step = Math.max(1, Math.ceil(frames / 128));
  const small = [];
  const large = [];
  for (let frame = 0; frame < frames; frame += step) {
    const { x, y } = pointAt(track, shareAt(timing, frame));
    if (!visibleAt(track, frames, frame)) continue;
    small.push(x, y);
  }
  for (let second = 0; second * fps < frames; second++) {
    const frame = second * fps;
    if (frame < timing.start || frame > timing.end) continue;
    const { x, y } = pointAt(track, shareAt(timing, frame));
    large.push(x, y);
  }
  found = { key, small, large };
  moments.set(track, found);
  return found;
}

function drawTimes(ctx, scene, track) {
  const { small, large } = timesOf(track, scene.document.frames, scene.document.fps);
  const { scale } = scene.viewport;
  squares(ctx, small, 1 / scale, LIGHT);
  discs(ctx, large, 3.4 / scale, DARK);
  discs(ctx, large, 2.4 / scale, LIGHT);
}

/** Squares, but none where the last one covers it already. */
function squares(ctx, xy, half, color) {
  ctx.fillStyle = color;
  let [x, y] = [Infinity, Infinity];
  for (let i = 0; i < xy.length; i += 2) {
    if (Math.abs(xy[i] - x) < half && Math.abs(xy[i + 1] - y) < half) continue;
    [x, y] = [xy[i], xy[i + 1]];
    ctx.fillRect(x - half, y - half, 2 * half, 2 * half);
  }
}

function discs(ctx, xy, radius, color) {
  ctx.beginPath();
  for (let i = 0; i < xy.length; i += 2) {
    ctx.moveTo(xy[i] + radius, xy[i + 1]);
    ctx.arc(xy[i], xy[i + 1], radius, 0, 2 * Math.PI);
  }
  ctx.fillStyle = color;
  ctx.fill();
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
function drawArrow(ctx, scene, track) {
  const { x, y, angle } = endOf(track);
  const size = 11 / scene.viewport.scale;
  ctx.beginPath();
  ctx.moveTo(x + size * 0.8 * Math.cos(angle), y + size * 0.8 * Math.sin(angle));
  ctx.lineTo(x + size * Math.cos(angle + 2.5), y + size * Math.sin(angle + 2.5));
  ctx.lineTo(x + size * Math.cos(angle - 2.5), y + size * Math.sin(angle - 2.5));
  ctx.closePath();
  ctx.lineWidth = 2 / scene.viewport.scale;
  ctx.strokeStyle = DARK;
  ctx.stroke();
  ctx.fillStyle = track.color;
  ctx.fill();
}

function drawFirst(ctx, scene, track) {
  const { scale } = scene.viewport;
  const { x, y } = track.points[0];
  discs(ctx, [x, y], 5 / scale, DARK);
  discs(ctx, [x, y], 3.6 / scale, track.color);
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

// Handles of what is selected

function drawHandles(ctx, scene, track) {
  const { scale } = scene.viewport;
  const chosen = scene.selection.get(track.id);
  if (track.locked) return drawFirst(ctx, scene, track);
  const size = (scene.touch ? 7 : 5) / scale;
  if (track.interpolation === "bezier" && track.kind !== "freehand") drawBezier(ctx, scene, track, chosen);
  const points = track.kind === "point" ? track.points.slice(0, 1) : track.points;
  points.forEach(({ x, y }, i) => {
    const on = chosen.has(i);
    const hover = scene.hover?.track === track.id && scene.hover?.point === i;
    const r = size * (on || hover ? 1.25 : track.kind === "freehand" ? 0.7 : 1);
    ctx.beginPath();
    if (i === 0) ctx.arc(x, y, r * 1.1, 0, 2 * Math.PI);
    else ctx.rect(x - r, y - r, 2 * r, 2 * r);
    ctx.fillStyle = on ? track.color : LIGHT;
    ctx.fill();
    ctx.lineWidth = 3.5 / scale;
    ctx.strokeStyle = DARK;
    ctx.stroke();
    ctx.lineWidth = 1.75 / scale;
    ctx.strokeStyle = on ? LIGHT : track.color;
    ctx.stroke();
  });
  if (track.kind === "circle") drawRadii(ctx, scene, track);
  if (track.kind === "grid") drawGridFrame(ctx, scene, track);
}

function drawBezier(ctx, scene, track, chosen) {
  const { scale } = scene.viewport;
  const ends = [];
  const lines = new Path2D();
  track.points.forEach((point, i) => {
    if (chosen.size && !chosen.has(i)) return;
    for (const side of ["in", "out"]) {
      const [dx, dy] = point[side] ?? [0, 0];
      if (!dx && !dy) continue;
      lines.moveTo(point.x, point.y);
      lines.lineTo(point.x + dx, point.y + dy);
      ends.push(point.x + dx, point.y + dy);
    }
  });
  stroke(ctx, lines, LIGHT, 1 / scale, 1.5 / scale);
  discs(ctx, ends, 5.5 / scale, DARK);
  discs(ctx, ends, 4 / scale, LIGHT);
}

function drawRadii(ctx, scene, track) {
  const { scale } = scene.viewport;
  const ends = [track.points[0], track.points.at(-1)];
  track.radius.forEach((radius, i) => {
    const path = new Path2D();
    path.arc(ends[i].x, ends[i].y, radius, 0, 2 * Math.PI);
    ctx.setLineDash(i ? [5 / scale, 4 / scale] : []);
    stroke(ctx, path, track.color, 1.25 / scale, 1.5 / scale);
    ctx.setLineDash([]);
    const angle = i ? -Math.PI / 4 : Math.PI / 4;
    const handle = [ends[i].x + radius * Math.cos(angle), ends[i].y + radius * Math.sin(angle)];
    discs(ctx, handle, 6 / scale, DARK);
    discs(ctx, handle, 4.5 / scale, i ? track.color : LIGHT);
  });
}

function drawGridFrame(ctx, scene, track) {
  const { scale } = scene.viewport;
  const corners = gridCorners(track);
  const path = new Path2D();
  corners.forEach(({ x, y }) => path.lineTo(x, y));
  path.closePath();
  ctx.setLineDash([5 / scale, 4 / scale]);
  stroke(ctx, path, track.color, 1.25 / scale, 1.5 / scale);
  ctx.setLineDash([]);
  if (track.grid.mask) {
    const mask = new Path2D();
    const { x, y } = track.points[0];
    for (const [u, v] of track.grid.mask) {
      const [dx, dy] = gridPlace(track.grid, u, v);
      mask.lineTo(x + dx, y + dy);
    }
    mask.closePath();
    stroke(ctx, mask, track.color, 1.5 / scale, 1.5 / scale);
  }
  const ends = corners.flatMap(({ x, y }) => [x, y]);
  discs(ctx, ends, 6 / scale, DARK);
  discs(ctx, ends, 4.5 / scale, LIGHT);
}

/** The frame that scales and turns what is selected. */
function drawBox(ctx, scene) {
  const bounds = boxOf(scene.document, scene.selection);
  if (!bounds) return;
  const { scale } = scene.viewport;
  const { x, y, width, height } = bounds;
  ctx.setLineDash([4 / scale, 4 / scale]);
  const path = new Path2D();
  path.rect(x, y, width, height);
  stroke(ctx, path, LIGHT, 1 / scale, 1.5 / scale);
  ctx.setLineDash([]);
  const handles = boxHandles(bounds, scale);
  const turn = handles.find((handle) => handle.name === "turn");
  const stem = new Path2D();
  stem.moveTo(x + width / 2, y);
  stem.lineTo(turn.x, turn.y);
  stroke(ctx, stem, LIGHT, 1 / scale, 1.5 / scale);
  for (const handle of handles) {
    const r = (handle.name === "turn" ? 5 : 4) / scale;
    ctx.beginPath();
    if (handle.name === "turn") ctx.arc(handle.x, handle.y, r, 0, 2 * Math.PI);
    else ctx.rect(handle.x - r, handle.y - r, 2 * r, 2 * r);
    ctx.lineWidth = 3 / scale;
    ctx.strokeStyle = DARK;
    ctx.stroke();
    ctx.fillStyle = LIGHT;
    ctx.fill();
  }
}

// The frame

/** Where every point is now; hollow where it is not visible. */
function drawHeads(ctx, scene) {
  const { document, frame } = scene;
  const { scale } = scene.viewport;
  const { paths: found, owners } = evaluate(document, [frame]);
  found.forEach(([{ x, y, visible }], i) => {
    const track = document.tracks[owners[i].index];
    const main = owners[i].part === 0 || track.kind === "grid";
    const r = (main ? (track.kind === "grid" ? 4 : 7) : 4) / scale;
    if (visible) {
      discs(ctx, [x, y], r + 2 / scale, DARK);
      discs(ctx, [x, y], r + 1 / scale, LIGHT);
      discs(ctx, [x, y], r - 1 / scale, track.color);
      return;
    }
    ctx.beginPath();
    ctx.arc(x, y, r, 0, 2 * Math.PI);
    ctx.lineWidth = 4 / scale;
    ctx.strokeStyle = DARK;
    ctx.stroke();
    ctx.lineWidth = 2 / scale;
    ctx.strokeStyle = track.color;
    ctx.setLineDash([3 / scale, 3 / scale]);
    ctx.stroke();
    ctx.setLineDash([]);
  });
}

/** Where a click would put a point. */
function drawGhost(ctx, scene, { x, y, color, from }) {
  const { scale } = scene.viewport;
  if (from) {
    const path = new Path2D();
    path.moveTo(from.x, from.y);
    path.lineTo(x, y);
    ctx.globalAlpha = 0.7;
    ctx.setLineDash([4 / scale, 4 / scale]);
    stroke(ctx, path, color, 1.25 / scale, 1 / scale);
    ctx.setLineDash([]);
    ctx.globalAlpha = 1;
  }
  discs(ctx, [x, y], 5 / scale, DARK);
  discs(ctx, [x, y], 3.5 / scale, color);
}

function drawMarquee(ctx, scene, { x, y, width, height, points }) {
  const { scale } = scene.viewport;
  const path = new Path2D();
  if (points) points.forEach((point) => path.lineTo(point.x, point.y));
  else path.rect(x, y, width, height);
  if (!points) {
    ctx.fillStyle = "rgba(120,170,255,.15)";
    ctx.fill(path);
  }
  stroke(ctx, path, "#9ec5ff", 1.25 / scale, 1 / scale);
}
