// Tracks as text, in and out: the clipboard, KJNodes' and ComfyUI's coordinates, this pack's track files, Tora's .txt.
// Pure. Binary files (ATI .pth, .npz) are read by the server (trajectory/formats.py), which gives a track file as JSON.

import { evaluate } from "./spline.js";
import { LIMITS, fail, freshId, serialise, validate } from "./schema.js";
import { createTrack, insertTracks, resizeCanvas, setFrames } from "./edits.js";

const CLIPBOARD = "trajectory-editor-tracks";
const TRACK_FILE = "trajectory-tracks"; // trajectory/formats.py
const TORA_SIDE = 256; // alibaba/Tora traj_utils.py: a trajectory file is drawn on 256 x 256, whatever the video
const FEW = 12; // points of a list that was probably drawn by hand, and not computed frame by frame

// Clipboard

/** The tracks as text for the clipboard (or a file); paste with importTracks. */
export function copyTracks(document, ids) {
  const chosen = new Set(ids);
  const { version, canvas, frames, fps } = document;
  const tracks = document.tracks.filter((track) => chosen.has(track.id));
  return serialise({ format: CLIPBOARD, version, canvas, frames, fps, tracks });
}

// In

/**
 * Adds the tracks of a text to the document: a clipboard or editor document, coordinates JSON (KJNodes, core), a track
 * file's JSON, or Tora's lines "x,y". Positions of another canvas and times of another length are scaled to this
 * document's. The added tracks are the last ones. Throws DocumentError.
 * @param {{name?: string}} [options] name: of the file
 */
export function importTracks(document, text, { name = "" } = {}) {
  if (typeof text !== "string" || !text.trim()) fail("There is nothing to paste: the text is empty.");
  if (text.length > LIMITS.text) fail(`The text has ${text.length} characters; at most ${LIMITS.text} are read.`);
  if (/^\s*[[{]/.test(text)) return importValue(document, parseJson(text), name);
  return importTora(document, text, name);
}

function importValue(document, value, name) {
  if (Array.isArray(value)) return addDense(document, pointLists(value, 0), name, { few: true });
  if (value.format === TRACK_FILE && value.editor) return importTracks(document, value.editor, { name });
  if (value.format === TRACK_FILE) return importTrackFile(document, value, name);
  if (!Array.isArray(value.tracks)) fail("This is JSON, but holds no tracks that are known here.");
  let source = validate({ camera: [], ...value });
  source = setFrames(resizeCanvas(source, document.canvas.width, document.canvas.height), document.frames);
  const empty = !document.tracks.length && !document.camera.length;
  const used = new Set(document.tracks.map((track) => track.id));
  const renamed = new Map();
  const tracks = source.tracks.map((track) => {
    const id = freshId(track.id, "t", used);
    renamed.set(track.id, id);
    return { ...track, id };
  });
  const result = insertTracks(document, tracks);
  if (!empty || value.format === CLIPBOARD) return result;
  const ids = (move) => move.tracks?.map((id) => renamed.get(id) ?? id) ?? null;
  return { ...result, camera: source.camera.map((move) => ({ ...move, tracks: ids(move) })) };
}

function importTrackFile(document, file, name) {
  const [width, height] = Array.isArray(file.canvas) ? file.canvas : [document.canvas.width, document.canvas.height];
  if (!(width > 0 && height > 0)) fail("canvas: the track file's canvas is no size.");
  const [sx, sy] = [document.canvas.width / width, document.canvas.height / height];
  const read = (track) => pointLists([track?.points], 0)[0]
    .map(({ x, y }, i) => ({ x: x * sx, y: y * sy, visible: track.visible?.[i] ?? true }));
  return addDense(document, (Array.isArray(file.tracks) ? file.tracks : []).map(read), name, {});
}

function importTora(document, text, name) {
  const { width, height } = document.canvas;
  const points = text.trim().split(/\r?\n/).map((line, i) => {
    const found = /^\s*(-?\d+(?:\.\d+)?)\s*,\s*(-?\d+(?:\.\d+)?)\s*$/.exec(line);
    if (!found) fail(`Line ${i + 1}: ${JSON.stringify(line.slice(0, 40))} is not "x,y" (Tora), nor is this JSON.`);
    return { x: (Number(found[1]) * width) / TORA_SIDE, y: (Number(found[2]) * height) / TORA_SIDE, visible: true };
  });
  return addDense(document, [points], name, {});
}

function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    try {
      return JSON.parse(text.replaceAll("'", '"')); // KJNodes writes some of its lists as Python does
    } catch {
      fail(`The text is not valid JSON: ${error.message}`);
    }
  }
}

/** Lists of {x, y, visible} out of nested lists of points ({x, y} or [x, y]). */
function pointLists(value, depth) {
  if (!Array.isArray(value) || !value.length || depth > 8) fail("A list of points is empty or not a list.");
  const isObject = (entry) => typeof entry === "object" && entry !== null;
  const isPoint = (entry) => (Array.isArray(entry) ? entry.length > 0 && !isObject(entry[0]) : isObject(entry));
  if (!value.every(isPoint)) return value.flatMap((entry) => pointLists(entry, depth + 1));
  return [value.map((entry, i) => {
    const [x, y, visible] = Array.isArray(entry) ? entry : [entry.x, entry.y, entry.visible];
    if (![x, y].every((number) => Number.isFinite(number) && Math.abs(number) <= LIMITS.coordinate)) {
      fail(`Point ${i}: ${JSON.stringify(entry)?.slice(0, 60)} has no finite x and y.`);
    }
    return { x, y, visible: visible === undefined || visible === true || visible > 0.5 };
  })];
}

/**
 * Tracks that are given frame by frame (evenly in time) become freehand strokes with exactly these positions; one that
 * stands still a point; with `few`, a short list becomes a spline to edit.
 */
function addDense(document, lists, name, { few = false }) {
  let result = document;
  lists.forEach((list, index) => {
    const label = name ? { name: lists.length > 1 ? `${name} ${index + 1}` : name } : {};
    const last = list.length - 1;
    const frame = (i) => (last ? Math.round((i * (document.frames - 1)) / last) : 0);
    const visibility = list.every((point) => point.visible) ? null : rangesOf(document.frames, list, last);
    const still = list.every(({ x, y }) => x === list[0].x && y === list[0].y);
    const points = still ? [{ x: list[0].x, y: list[0].y }] : list.map(({ x, y }, i) => ({ x, y, t: i / last }));
    let partial = { kind: "freehand", points, interpolation: "linear" };
    if (still) partial = { kind: "point", points };
    else if (few && list.length <= FEW && frame(1) > 1) partial = { points: points.map(({ x, y }) => ({ x, y })) };
    result = insertTracks(result, [createTrack(result, { ...partial, ...label, visibility })]);
  });
  return result;
}

function rangesOf(frames, list, last) {
  const ranges = [];
  for (let f = 0; f < frames; f++) {
    const source = frames > 1 ? Math.floor((f * last) / (frames - 1) + 0.5) : 0;
    if (!list[source].visible) continue;
    if (ranges.at(-1)?.[1] === f - 1) ranges.at(-1)[1] = f;
    else ranges.push([f, f]);
  }
  return ranges;
}

// Out

/** What exportTracks can write: name -> what it is, for a menu. */
export const EXPORTS = Object.freeze({
  editor: "drawing, to go on editing (.json)",
  tracks: "tracks of this pack (.json)",
  coordinates: "coordinates for KJNodes and core nodes (.json)",
  tora: "Tora (.txt, one file a track)",
});

/** @param {keyof typeof EXPORTS} format @returns {{name: string, text: string}[]} files */
export function exportTracks(document, format) {
  if (format === "editor") return [{ name: "drawing.json", text: serialise(document) }];
  const { paths } = evaluate(document);
  if (!paths.length) fail("There is nothing to export: no track is drawn, or all are hidden.");
  if (format === "tracks") return [{ name: "tracks.json", text: rounded(trackFile(document, paths)) }];
  if (format === "coordinates") {
    const lists = paths.map((path) => path.map(({ x, y, visible }) => (visible ? { x, y } : { x, y, visible })));
    return [{ name: "coordinates.json", text: rounded(lists.length === 1 ? lists[0] : lists) }];
  }
  if (format === "tora") {
    const { width, height } = document.canvas;
    const line = ({ x, y }) => `${Math.round((x * TORA_SIDE) / width)},${Math.round((y * TORA_SIDE) / height)}`;
    return paths.map((path, i) => ({ name: `track_${i + 1}.txt`, text: `${path.map(line).join("\n")}\n` }));
  }
  fail(`${format}: tracks are exported as ${Object.keys(EXPORTS).join(", ")}.`);
}

const rounded = (value) => JSON.stringify(value, (key, entry) =>
  (typeof entry === "number" ? Math.round(entry * 1e5) / 1e5 : entry));

/** A track file (trajectory/formats.py) with the drawing in it, so that it can be edited again. */
function trackFile(document, paths) {
  const { canvas, fps, frames } = document;
  const tracks = paths.map((path) => ({
    points: path.map(({ x, y }) => [x, y]),
    visible: path.map(({ visible }) => Number(visible)),
  }));
  const size = [canvas.width, canvas.height];
  return { format: TRACK_FILE, version: 1, canvas: size, fps, frames, tracks, editor: serialise(document) };
}
