// Edits of the document as pure functions: (document, …) -> new document. Nothing is changed in place, and what an edit
// does not touch stays the same object, so that caches and comparisons by identity hold. Knows no DOM and no history.
//
// A selection is {[trackId]: [point index, …]}. Locked tracks are the caller's concern: edits do what they are told.

import { gridPlace, recordedTimes, segments } from "./spline.js";
import { DocumentError, LIMITS, PALETTE, freshId, outputCount, validate } from "./schema.js";

const NAMES = { spline: "Spline", freehand: "Stroke", point: "Point", circle: "Circle", grid: "Grid" };
const limited = (value) => Math.min(Math.max(value, -LIMITS.coordinate), LIMITS.coordinate);

/** @returns the track with that id, or undefined */
export function trackById(document, id) {
  return document.tracks.find((track) => track.id === id);
}

function changeTracks(document, ids, change) {
  const chosen = new Set(ids);
  return { ...document, tracks: document.tracks.map((track) => (chosen.has(track.id) ? change(track) : track)) };
}

const changeTrack = (document, id, change) => changeTracks(document, [id], change);

/**
 * A complete track with a free id, name and colour, not yet in the document.
 * @param {{kind?: string, points: object[]}} partial whatever differs from the defaults; `grid` needs {width, height}
 */
export function createTrack(document, partial) {
  const { kind = "spline", ...rest } = partial;
  const used = new Set(document.tracks.map((track) => track.id));
  const id = freshId(rest.id, "t", used);
  const sameKind = document.tracks.filter((track) => track.kind === kind).length;
  const count = (color) => document.tracks.filter((track) => track.color === color).length;
  const color = PALETTE.reduce((best, next) => (count(next) < count(best) ? next : best));
  const interpolation = kind === "freehand" ? "linear" : "cardinal";
  const track = { name: `${NAMES[kind]} ${sameKind + 1}`, color, interpolation, ...rest, kind, id };
  return validate({ ...document, tracks: [track], camera: [] }).tracks[0];
}

/** Adds a track made of `partial` (see createTrack) at `index`; by default last: it is `document.tracks.at(-1)`. */
export function addTrack(document, partial, index = document.tracks.length) {
  return insertTracks(document, [createTrack(document, partial)], index);
}

/** Adds complete tracks. Throws DocumentError where the document would get too large. */
export function insertTracks(document, tracks, index = document.tracks.length) {
  const all = [...document.tracks.slice(0, index), ...tracks, ...document.tracks.slice(index)];
  const total = (count) => all.reduce((sum, track) => sum + count(track), 0);
  const controls = total((track) => track.points.length);
  if (all.length > LIMITS.tracks || total(outputCount) > LIMITS.outputs || controls > LIMITS.points) {
    const most = `${LIMITS.tracks} drawn tracks, ${LIMITS.outputs} with the points of circles and grids`;
    throw new DocumentError(`There is no room for more: at most ${most}.`);
  }
  return { ...document, tracks: all };
}

export function removeTracks(document, ids) {
  const gone = new Set(ids);
  const tracks = document.tracks.filter((track) => !gone.has(track.id));
  const camera = document.camera.map((move) =>
    move.tracks?.some((id) => gone.has(id)) ? { ...move, tracks: move.tracks.filter((id) => !gone.has(id)) } : move);
  return { ...document, tracks, camera };
}

/** Copies right after the last of the originals, moved by dx, dy. */
export function duplicateTracks(document, ids, dx = 10, dy = 10) {
  const chosen = new Set(ids);
  const used = new Set(document.tracks.map((track) => track.id));
  const renamed = (track) => ({ id: freshId(null, "t", used), name: `${track.name} copy`.slice(0, 200) });
  const copy = (track) => ({ ...moved(track, dx, dy), ...renamed(track) });
  const copies = document.tracks.filter((track) => chosen.has(track.id)).map(copy);
  const last = document.tracks.findLastIndex((track) => chosen.has(track.id));
  return copies.length ? insertTracks(document, copies, last + 1) : document;
}

/** Puts a track at another place of the list (counted without it). */
export function reorderTrack(document, id, index) {
  const track = trackById(document, id);
  if (!track) return document;
  const rest = document.tracks.filter((other) => other !== track);
  return { ...document, tracks: [...rest.slice(0, index), track, ...rest.slice(index)] };
}

/**
 * Sets properties of tracks: name, color, kind, interpolation, tension, closed, radius, spokes, grid, locked, hidden,
 * visibility. Values are checked (DocumentError); what another kind needs gets its default.
 */
export function setTracks(document, ids, values) {
  return changeTracks(document, ids, (track) => {
    const changed = completed({ ...track, ...values }, document);
    return validate({ ...document, tracks: [changed], camera: [] }).tracks[0];
  });
}

function completed(track, document) {
  if (track.kind !== "grid" || track.grid) return track;
  const { width, height } = document.canvas;
  return { ...track, grid: { width: width / 4, height: height / 4, columns: 4, rows: 3 } };
}

export const renameTrack = (document, id, name) => setTracks(document, [id], { name });

/** Another interpolation; to "bezier" with handles that keep the shape. */
export function setInterpolation(document, ids, interpolation) {
  return changeTracks(document, ids, (track) =>
    interpolation === "bezier" && track.interpolation !== "bezier"
      ? { ...track, points: withHandles(track), interpolation }
      : { ...track, interpolation });
}

function withHandles(track) {
  const points = track.points.map((point) => ({ ...point, in: [0, 0], out: [0, 0] }));
  segments(track).forEach(([x0, y0, cx0, cy0, cx1, cy1, x1, y1], i) => {
    points[i].out = [cx0 - x0, cy0 - y0];
    points[(i + 1) % points.length].in = [cx1 - x1, cy1 - y1];
  });
  return points;
}

/** Changes parts of the timing: {start, end, curve, before, after}. Dragging one end past the other takes it along. */
export function setTiming(document, ids, values) {
  return changeTracks(document, ids, (track) => ({ ...track, timing: mergedTiming(track.timing, values) }));
}

function mergedTiming(timing, values) {
  const merged = { ...timing, ...values };
  if (merged.end < merged.start) {
    if (values.end === undefined) merged.end = merged.start;
    else merged.start = merged.end;
  }
  return merged;
}

/** Shows or hides a track in frames first … last (whole, inclusive); null ranges where it is always visible. */
export function setVisible(document, id, first, last, visible) {
  const { frames } = document;
  return changeTrack(document, id, (track) => {
    const shown = Array.from({ length: frames }, (_, f) =>
      f >= first && f <= last ? visible : !track.visibility || track.visibility.some(([a, b]) => a <= f && f <= b));
    const ranges = [];
    shown.forEach((value, f) => {
      if (!value) return;
      if (shown[f - 1]) ranges.at(-1)[1] = f;
      else ranges.push([f, f]);
    });
    return { ...track, visibility: shown.every(Boolean) ? null : ranges };
  });
}

// Points

const changePoints = (document, id, change) =>
  changeTrack(document, id, (track) => ({ ...track, points: change(track.points, track) }));

/** Adds a control point at the end (or at `index`). */
export function appendPoint(document, id, { x, y }, index) {
  return changePoints(document, id, (points, track) => {
    const place = index ?? points.length;
    const added = { x: limited(x), y: limited(y) };
    if (recordedTimes(track)) added.t = timeBetween(points, place);
    return [...points.slice(0, place), added, ...points.slice(place)];
  });
}

/** A recorded time for a new point at `place`: in the middle of its neighbours, or a usual step beyond the ends. */
function timeBetween(points, place) {
  const [first, last] = [points[0].t, points.at(-1).t];
  const step = (last - first) / (points.length - 1);
  return ((points[place - 1]?.t ?? first - 2 * step) + (points[place]?.t ?? last + 2 * step)) / 2;
}

/** Inserts a control point on the curve at parameter u of a segment (spline.js: nearest); a Bézier curve stays as it is. */
export function insertPoint(document, id, segment, u) {
  return changePoints(document, id, (points, track) => {
    const part = segments(track)[segment];
    if (!part) return points;
    const [x0, y0, ax, ay, bx, by, x1, y1] = part;
    const mix = (p, q) => p + (q - p) * u;
    const [first, middle, last] = [[mix(x0, ax), mix(y0, ay)], [mix(ax, bx), mix(ay, by)], [mix(bx, x1), mix(by, y1)]];
    const left = [mix(first[0], middle[0]), mix(first[1], middle[1])];
    const right = [mix(middle[0], last[0]), mix(middle[1], last[1])];
    const added = { x: mix(left[0], right[0]), y: mix(left[1], right[1]) };
    const next = (segment + 1) % points.length;
    const result = [...points];
    if (track.interpolation === "bezier") {
      added.in = [left[0] - added.x, left[1] - added.y];
      added.out = [right[0] - added.x, right[1] - added.y];
      result[segment] = { ...result[segment], out: [first[0] - x0, first[1] - y0] };
      result[next] = { ...result[next], in: [last[0] - x1, last[1] - y1] };
    }
    if (recordedTimes(track)) added.t = mix(points[segment].t, points[next].t);
    result.splice(segment + 1, 0, added);
    return result;
  });
}

/** Moves the selected control points by dx, dy. */
export function movePoints(document, selection, dx, dy) {
  return changeTracks(document, Object.keys(selection), (track) => {
    const chosen = new Set(selection[track.id]);
    return { ...track, points: track.points.map((point, i) => (chosen.has(i) ? shifted(point, dx, dy) : point)) };
  });
}

const shifted = (point, dx, dy) => ({ ...point, x: limited(point.x + dx), y: limited(point.y + dy) });
const moved = (track, dx, dy) => ({ ...track, points: track.points.map((point) => shifted(point, dx, dy)) });

/** Puts one control point at x, y. */
export function setPoint(document, id, index, { x, y }) {
  const put = (point) => ({ ...point, x: limited(x), y: limited(y) });
  return changePoints(document, id, (points) => points.map((point, i) => (i === index ? put(point) : point)));
}

/**
 * Sets a Bézier handle ("in" or "out") relative to its point; mirrored, the other one points the opposite way and keeps
 * its length.
 */
export function setHandle(document, id, index, side, [dx, dy], { mirrored = true } = {}) {
  const other = side === "in" ? "out" : "in";
  return changePoints(document, id, (points) => points.map((point, i) => {
    if (i !== index) return point;
    const result = { ...point, [side]: [limited(dx), limited(dy)] };
    const size = Math.hypot(dx, dy);
    if (mirrored && size > 0) {
      const length = Math.hypot(...(point[other] ?? [0, 0])) || size;
      result[other] = [limited((-dx / size) * length), limited((-dy / size) * length)];
    }
    return result;
  }));
}

/** Deletes the selected control points; a track without points goes as a whole. */
export function deletePoints(document, selection) {
  const gone = [];
  const result = changeTracks(document, Object.keys(selection), (track) => {
    const chosen = new Set(selection[track.id]);
    const points = track.points.filter((_, i) => !chosen.has(i));
    if (!points.length) gone.push(track.id);
    return { ...track, points };
  });
  return gone.length ? removeTracks(result, gone) : result;
}

// Whole tracks in space

/** The box of the control points of tracks (with their circles and grids): {x, y, width, height}, null for none. */
export function boundsOf(document, ids) {
  const chosen = new Set(ids);
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const track of document.tracks) {
    if (!chosen.has(track.id)) continue;
    const around = track.kind === "circle" ? Math.max(...track.radius) : 0;
    const [w, h] = track.kind === "grid" ? gridReach(track.grid) : [around, around];
    for (const { x, y } of track.points) {
      [left, right] = [Math.min(left, x - w), Math.max(right, x + w)];
      [top, bottom] = [Math.min(top, y - h), Math.max(bottom, y + h)];
    }
  }
  return left > right ? null : { x: left, y: top, width: right - left, height: bottom - top };
}

/**
 * Scales by sx, sy and turns by `degrees` (clockwise) round `center`, then moves by dx, dy. Handles, radii and grids go
 * along; a grid that is turned scales along its own sides.
 * @param {{dx?: number, dy?: number, sx?: number, sy?: number, degrees?: number, center?: [number, number]}} change
 */
export function transformTracks(document, ids, change) {
  const box = boundsOf(document, ids);
  if (!box) return document;
  const middle = [box.x + box.width / 2, box.y + box.height / 2];
  const { dx = 0, dy = 0, sx = 1, sy = 1, degrees = 0, center = middle } = change;
  const [cos, sin] = [Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180)];
  const turn = (x, y) => [limited(x * sx * cos - y * sy * sin), limited(x * sx * sin + y * sy * cos)];
  return changeTracks(document, ids, (track) => {
    const points = track.points.map((point) => {
      const [x, y] = turn(point.x - center[0], point.y - center[1]);
      return withTurnedHandles({ ...point, x: limited(center[0] + x + dx), y: limited(center[1] + y + dy) }, turn);
    });
    return turned(resized({ ...track, points }, Math.abs(sx), Math.abs(sy)), degrees);
  });
}

function withTurnedHandles(point, turn) {
  if (point.in) point.in = turn(...point.in);
  if (point.out) point.out = turn(...point.out);
  return point;
}

function resized(track, sx, sy) {
  const { kind, radius, grid } = track;
  if (kind === "circle") return { ...track, radius: radius.map((value) => limited(value * Math.sqrt(sx * sy))) };
  if (kind !== "grid") return track;
  return { ...track, grid: { ...grid, width: limited(grid.width * sx), height: limited(grid.height * sy) } };
}

function turned(track, degrees) {
  if (track.kind !== "grid" || !degrees) return track;
  return { ...track, grid: { ...track.grid, angle: limited(track.grid.angle + degrees) } };
}

/** Half the width and height of the box round a grid. */
function gridReach(grid) {
  const corners = [gridPlace(grid, 1, 1), gridPlace(grid, 1, 0)];
  return [0, 1].map((axis) => Math.max(...corners.map((corner) => Math.abs(corner[axis]))));
}

// The whole document

/** Another canvas; tracks and camera scale with it unless `scale` is false. */
export function resizeCanvas(document, width, height, { scale = true } = {}) {
  const canvas = { ...document.canvas, width, height };
  const result = validate({ ...document, canvas });
  if (!scale) return result;
  const [sx, sy] = [width / document.canvas.width, height / document.canvas.height];
  if (sx === 1 && sy === 1) return document;
  const scaled = transformTracks(result, result.tracks.map((track) => track.id), { sx, sy, center: [0, 0] });
  const camera = scaled.camera.map((move) => ({
    ...move, x: limited(move.x * sx), y: limited(move.y * sy),
    center: move.center && [limited(move.center[0] * sx), limited(move.center[1] * sy)],
  }));
  return { ...scaled, camera };
}

/** Another number of frames; the motion is stretched to it unless `scale` is false. */
export function setFrames(document, frames, { scale = true } = {}) {
  if (frames === document.frames) return document;
  const result = validate({ ...document, frames });
  if (!scale || document.frames < 2) return result;
  const factor = (frames - 1) / (document.frames - 1);
  const stretched = (owner) => {
    const { start, end } = owner.timing;
    return { ...owner, timing: { ...owner.timing, start: limited(start * factor), end: limited(end * factor) } };
  };
  const ranges = (track) => track.visibility?.map((range) => range.map((frame) => Math.round(frame * factor))) ?? null;
  return {
    ...result,
    tracks: result.tracks.map((track) => ({ ...stretched(track), visibility: ranges(track) })),
    camera: result.camera.map(stretched),
  };
}

export const setFps = (document, fps) => validate({ ...document, fps });

// Camera moves

/** Adds a camera move of {kind: "pan"|"zoom"|"rotate", x, y, factor, degrees, center, timing, tracks}. */
export function addCamera(document, partial) {
  const id = freshId(partial.id, "c", new Set(document.camera.map((move) => move.id)));
  return validate({ ...document, camera: [...document.camera, { ...partial, id }] });
}

/** Changes a camera move; parts of `timing` are merged. */
export function setCamera(document, id, values) {
  const change = (move) => ({ ...move, ...values, timing: mergedTiming(move.timing, values.timing ?? {}) });
  return validate({ ...document, camera: document.camera.map((move) => (move.id === id ? change(move) : move)) });
}

export function removeCamera(document, id) {
  return { ...document, camera: document.camera.filter((move) => move.id !== id) };
}

/** Puts a camera move at another place of the list, which is the order in which they act. */
export function reorderCamera(document, id, index) {
  const move = document.camera.find((other) => other.id === id);
  if (!move) return document;
  const rest = document.camera.filter((other) => other !== move);
  return { ...document, camera: [...rest.slice(0, index), move, ...rest.slice(index)] };
}
