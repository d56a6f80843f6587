// The document that the editor keeps in the widget `editor_state`: defaults, checks, migrations, text. Mirrors
// trajectory/document.py, which has the last word. Pure: knows no curve, no DOM. Keys that it does not know are kept.

import { SPOKES } from "./spline.js";

export const VERSION = 1;
export const KINDS = ["spline", "freehand", "point", "circle", "grid"];
export const INTERPOLATIONS = ["cardinal", "monotone", "bezier", "linear", "step"];
export const SPEEDS = ["linear", "ease-in", "ease-out", "ease-in-out"];
export const MOVES = ["pan", "zoom", "rotate"];
/** Okabe and Ito's colours: told apart by colour-blind people too. */
export const PALETTE = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#f5f5f5"];

export const LIMITS = Object.freeze({
  text: 8 * 1024 * 1024, // characters
  tracks: 1000,
  points: 50_000, // control points of all tracks
  outputs: 20_000, // tracks after circles and grids are expanded
  frames: 2000,
  coordinate: 1e6, // pixels
  side: 16_384, // pixels of the canvas
  perSide: 256, // columns, rows, spokes
});

/** A document that cannot be used. The message says which track and field, and is plain text: never make it HTML. */
export class DocumentError extends Error {}

/** Throws a DocumentError. */
export function fail(message) {
  throw new DocumentError(message);
}

/** @returns a new document without tracks. */
export function emptyDocument({ width = 832, height = 480, frames = 81, fps = 16 } = {}) {
  return { version: VERSION, canvas: { width, height }, frames, fps, tracks: [], camera: [] };
}

/**
 * Reads what the widget holds. Never throws: with `error` the text could not be used; the document is then an empty
 * one, and the caller keeps the text until the user decides.
 * @param {string} text @returns {{document: object, error: string|null}}
 */
export function parse(text, defaults = {}) {
  if (typeof text !== "string" || !text.trim()) return { document: emptyDocument(defaults), error: null };
  try {
    if (text.length > LIMITS.text) fail(`The drawing has ${text.length} characters; at most ${LIMITS.text} are read.`);
    return { document: validate(JSON.parse(text)), error: null };
  } catch (error) {
    const reason = error instanceof DocumentError ? error.message : `The drawing is not valid JSON: ${error.message}`;
    return { document: emptyDocument(defaults), error: reason };
  }
}

/** The text for the widget; it reads back exactly. */
export function serialise(document) {
  return JSON.stringify(document);
}

/** Turns a document of version n into one of version n + 1. None yet: version 1 is the first. */
const MIGRATIONS = {};

export function migrate(value) {
  let version = value.version ?? VERSION;
  if (!Number.isInteger(version) || version < 1) fail(`version: ${show(version)} is not a version of a drawing.`);
  if (version > VERSION) {
    fail(`version: the drawing is of version ${version}, this editor reads up to ${VERSION}: update the pack.`);
  }
  for (; version < VERSION; version++) value = MIGRATIONS[version](value);
  return { ...value, version: VERSION };
}

/** A checked copy with everything that was left out filled in. Throws DocumentError. */
export function validate(value) {
  if (!isObject(value)) fail(`The drawing is ${show(value)}, not an object with "tracks".`);
  value = migrate(value);
  const size = value.canvas ?? { width: 832, height: 480 };
  if (!isObject(size)) fail(`canvas: ${show(size)} is not {"width": …, "height": …}.`);
  const side = (name) => whole(size[name], `canvas.${name}`, 1, LIMITS.side);
  const canvas = { ...size, width: side("width"), height: side("height") };
  const frames = whole(value.frames ?? 81, "frames", 1, LIMITS.frames);
  const fps = number(value.fps ?? 16, "fps", 0.01, 1000);
  const list = array(value.tracks ?? [], "tracks", 0, LIMITS.tracks);
  const used = new Set();
  const tracks = list.map((track, index) => checkTrack(track, index, frames, used));
  const controls = tracks.reduce((sum, track) => sum + track.points.length, 0);
  if (controls > LIMITS.points) fail(`tracks: ${controls} points are drawn; at most ${LIMITS.points} are possible.`);
  const outputs = tracks.reduce((sum, track) => sum + outputCount(track), 0);
  if (outputs > LIMITS.outputs) fail(`tracks: the drawing gives ${outputs}; at most ${LIMITS.outputs} are possible.`);
  const moves = new Set();
  const camera = array(value.camera ?? [], "camera", 0, LIMITS.tracks)
    .map((move, index) => checkMove(move, index, frames, moves));
  return { ...value, canvas, frames, fps, tracks, camera };
}

/** How many tracks a drawn track gives (a mask may leave fewer). */
export function outputCount(track) {
  if (track.kind === "circle") return track.spokes + 1;
  return track.kind === "grid" ? track.grid.columns * track.grid.rows : 1;
}

function checkTrack(track, index, frames, used) {
  if (!isObject(track)) fail(`tracks[${index}]: ${show(track)} is not a track.`);
  const id = freshId(track.id, "t", used);
  const name = text(track.name ?? `Track ${index + 1}`, `tracks[${index}].name`);
  return within(`Track ${show(name)} (${id})`, () => {
    const kind = choice(track.kind ?? "spline", "kind", KINDS);
    const points = array(track.points, "points", 1, LIMITS.points).map(checkPoint);
    const result = {
      ...track, id, name, kind, points,
      color: /^#[0-9a-f]{6}$/i.test(track.color) ? track.color : PALETTE[index % PALETTE.length],
      interpolation: choice(track.interpolation ?? "cardinal", "interpolation", INTERPOLATIONS),
      tension: number(track.tension ?? 0, "tension", -10, 10),
      closed: flag(track.closed, "closed"),
      timing: checkTiming(track.timing, frames),
      visibility: checkRanges(track.visibility),
      locked: flag(track.locked, "locked"),
      hidden: flag(track.hidden, "hidden"),
    };
    if (kind === "freehand") checkTimes(points);
    if (kind === "circle") {
      result.radius = pair(track.radius ?? [40, 40], "radius", 0);
      result.spokes = whole(track.spokes ?? SPOKES, "spokes", 1, LIMITS.perSide);
    }
    if (kind === "grid") result.grid = checkGrid(track.grid);
    return result;
  });
}

function checkPoint(point, index) {
  if (!isObject(point)) fail(`points[${index}]: ${show(point)} is not {"x": …, "y": …}.`);
  const result = { ...point, x: pixel(point.x, `points[${index}].x`), y: pixel(point.y, `points[${index}].y`) };
  for (const side of ["in", "out"]) {
    if (point[side] != null) result[side] = pair(point[side], `points[${index}].${side}`);
  }
  if (point.t != null) result.t = number(point.t, `points[${index}].t`, -LIMITS.coordinate, LIMITS.coordinate);
  return result;
}

function checkTimes(points) {
  for (let i = 1; i < points.length; i++) {
    if (points[i].t < points[i - 1].t) fail(`points[${i}].t: recorded times run backwards here.`);
  }
}

function checkGrid(grid) {
  if (!isObject(grid)) fail(`grid: ${show(grid)} is not {"width": …, "height": …, "columns": …, "rows": …}.`);
  const result = {
    ...grid,
    width: number(grid.width, "grid.width", 0, LIMITS.coordinate),
    height: number(grid.height, "grid.height", 0, LIMITS.coordinate),
    columns: whole(grid.columns ?? 4, "grid.columns", 1, LIMITS.perSide),
    rows: whole(grid.rows ?? 3, "grid.rows", 1, LIMITS.perSide),
    angle: number(grid.angle ?? 0, "grid.angle", -LIMITS.coordinate, LIMITS.coordinate),
  };
  if (grid.mask != null) {
    result.mask = array(grid.mask, "grid.mask", 3, 10_000).map((corner, i) => pair(corner, `grid.mask[${i}]`));
  }
  return result;
}

function checkTiming(timing, frames) {
  timing ??= {};
  if (!isObject(timing)) fail(`timing: ${show(timing)} is not an object.`);
  const start = number(timing.start ?? 0, "timing.start", -LIMITS.coordinate, LIMITS.coordinate);
  const end = number(timing.end ?? Math.max(frames - 1, start), "timing.end", -LIMITS.coordinate, LIMITS.coordinate);
  if (end < start) fail(`timing: the end ${end} is before the start ${start}.`);
  return {
    ...timing, start, end,
    curve: checkSpeed(timing.curve ?? "linear"),
    before: choice(timing.before ?? "hold", "timing.before", ["hold", "hidden"]),
    after: choice(timing.after ?? "hold", "timing.after", ["hold", "hidden"]),
  };
}

function checkSpeed(curve) {
  if (typeof curve === "string") return choice(curve, "timing.curve", SPEEDS);
  const handles = array(curve, "timing.curve", 2, 2).map((handle, i) => pair(handle, `timing.curve[${i}]`, -10, 10));
  if (handles.some(([x]) => x < 0 || x > 1)) fail("timing.curve: x of both handles is a share of the time, 0 to 1.");
  return handles;
}

function checkRanges(ranges) {
  if (ranges == null) return null;
  return array(ranges, "visibility", 0, 10_000).map((range, i) => {
    const [first, last] = pair(range, `visibility[${i}]`);
    if (last < first) fail(`visibility[${i}]: the range ends (${last}) before it begins (${first}).`);
    return [first, last];
  });
}

function checkMove(move, index, frames, used) {
  if (!isObject(move)) fail(`camera[${index}]: ${show(move)} is not a camera move.`);
  const id = freshId(move.id, "c", used);
  return within(`Camera move ${index + 1} (${id})`, () => ({
    ...move, id,
    kind: choice(move.kind, "kind", MOVES),
    x: pixel(move.x ?? 0, "x"),
    y: pixel(move.y ?? 0, "y"),
    factor: number(move.factor ?? 1, "factor", 0.001, 1000),
    degrees: number(move.degrees ?? 0, "degrees", -LIMITS.coordinate, LIMITS.coordinate),
    center: move.center == null ? null : pair(move.center, "center"),
    timing: checkTiming(move.timing, frames),
    tracks: move.tracks == null ? null
      : array(move.tracks, "tracks", 0, LIMITS.tracks).map((name, i) => text(name, `tracks[${i}]`)),
  }));
}

// Small checks; each gives the value back or throws, naming the field

function within(where, work) {
  try {
    return work();
  } catch (error) {
    throw error instanceof DocumentError ? new DocumentError(`${where}, ${error.message}`) : error;
  }
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function show(value) {
  const written = JSON.stringify(value) ?? String(value);
  return written.length > 60 ? `${written.slice(0, 60)}…` : written;
}

function number(value, field, least, most) {
  if (!Number.isFinite(value)) fail(`${field}: ${show(value)} is not a finite number.`);
  if (value < least || value > most) fail(`${field}: ${value} is not between ${least} and ${most}.`);
  return value;
}

const pixel = (value, field) => number(value, field, -LIMITS.coordinate, LIMITS.coordinate);

function whole(value, field, least, most) {
  number(value, field, least, most);
  if (!Number.isInteger(value)) fail(`${field}: ${value} is not a whole number.`);
  return value;
}

function pair(value, field, least = -LIMITS.coordinate, most = LIMITS.coordinate) {
  return array(value, field, 2, 2).map((entry) => number(entry, field, least, most));
}

function array(value, field, least, most) {
  if (!Array.isArray(value)) fail(`${field}: ${show(value)} is not a list.`);
  if (value.length < least || value.length > most) {
    const wanted = least === most ? `${least}` : `${least} to ${most}`;
    fail(`${field}: ${value.length} entries; ${wanted} are possible.`);
  }
  return value;
}

function choice(value, field, choices) {
  if (!choices.includes(value)) fail(`${field}: ${show(value)} is none of ${choices.join(", ")}.`);
  return value;
}

function flag(value, field) {
  if (value != null && typeof value !== "boolean") fail(`${field}: ${show(value)} is not true or false.`);
  return value ?? false;
}

function text(value, field) {
  if (typeof value !== "string") fail(`${field}: ${show(value)} is not a text.`);
  return value.slice(0, 200);
}

/** The given id, or the first free one where it is missing or taken already. @param {Set<string>} used */
export function freshId(wanted, prefix, used) {
  let id = typeof wanted === "string" && wanted && !used.has(wanted) ? wanted.slice(0, 200) : null;
  for (let i = used.size + 1; id === null || used.has(id); i++) id = `${prefix}${i}`;
  used.add(id);
  return id;
}
