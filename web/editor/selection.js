// What is selected, and what lies under the pointer: Map of track id -> Set of its chosen points (empty: the whole track).
// Pure geometry over a document; knows no events and no page.

import { boundsOf } from "./document.js";
import { gridPlace, nearest } from "./spline.js";

/** @typedef {Map<string, Set<number>>} Selection */

/** The selection without tracks and points that the document does not have. @param {Selection} selection */
export function pruned(selection, document) {
  const kept = new Map();
  for (const track of document.tracks) {
    const points = selection.get(track.id);
    if (points) kept.set(track.id, new Set([...points].filter((index) => index < track.points.length)));
  }
  return kept;
}

/** Whole tracks. @returns {Selection} */
export const ofTracks = (ids) => new Map([...ids].map((id) => [id, new Set()]));

/** {track id: [point indices]} of every point that moves with the selection: chosen ones, or all of a whole track. */
export function chosenPoints(document, selection) {
  const found = {};
  for (const track of document.tracks) {
    const points = selection.get(track.id);
    if (points && !track.locked) found[track.id] = points.size ? [...points] : track.points.map((_, i) => i);
  }
  return found;
}

/** The box round the selection where it is of whole tracks, which can be scaled and turned; else null. */
export function boxOf(document, selection) {
  const ids = [...selection.keys()].filter((id) => !document.tracks.find((track) => track.id === id)?.locked);
  if (!ids.length || [...selection.values()].some((points) => points.size)) return null;
  const bounds = boundsOf(document, ids);
  return bounds && bounds.width + bounds.height > 0 ? bounds : null;
}

/** The handles of the box: four corners that scale, one above that turns. */
export function boxHandles({ x, y, width, height }, scale) {
  const pad = 12 / scale;
  return [
    { name: "scale", x: x - pad, y: y - pad, anchor: { x: x + width, y: y + height } },
    { name: "scale", x: x + width + pad, y: y - pad, anchor: { x, y: y + height } },
    { name: "scale", x: x + width + pad, y: y + height + pad, anchor: { x, y } },
    { name: "scale", x: x - pad, y: y + height + pad, anchor: { x: x + width, y } },
    { name: "turn", x: x + width / 2, y: y - 30 / scale },
  ];
}

const CORNERS = [[0, 0], [1, 0], [1, 1], [0, 1]];

/** The corners of a grid's rectangle at the start of its path, from its upper left, clockwise. */
export function gridCorners(track) {
  const { x, y } = track.points[0];
  return CORNERS.map(([u, v]) => gridPlace(track.grid, u, v)).map(([dx, dy]) => ({ x: x + dx, y: y + dy }));
}

/**
 * Everything within `reach` (document pixels) of a place, what is on top first: the selection's handles, its points, other
 * points, curves. @returns {{kind: "box"|"radius"|"corner"|"in"|"out"|"point"|"curve", track?: string, point?: number}[]}
 */
export function hitsAt(document, { selection, box, scale, reach }, x, y) {
  const near = (place) => Math.hypot(place.x - x, place.y - y) <= reach;
  const found = [];
  const open = document.tracks.filter((track) => !track.hidden && !track.locked);
  const chosen = open.filter((track) => selection.has(track.id));
  for (const track of chosen) found.push(...handlesAt(track, selection.get(track.id), near));
  if (box) {
    const bounds = boxOf(document, selection);
    if (bounds) found.push(...boxHandles(bounds, scale).filter(near).map((handle) => ({ kind: "box", handle, bounds })));
  }
  const rest = open.filter((track) => !selection.has(track.id)).reverse();
  for (const track of [...chosen.toReversed(), ...rest]) {
    const last = track.kind === "point" ? 1 : track.points.length;
    const hits = [];
    for (let i = 0; i < last; i++) {
      const { x: px, y: py } = track.points[i];
      const distance = Math.hypot(px - x, py - y);
      if (distance <= reach) hits.push({ kind: "point", track: track.id, point: i, distance });
    }
    found.push(...hits.sort((a, b) => a.distance - b.distance));
  }
  for (const track of [...chosen.toReversed(), ...rest]) {
    if (track.points.length < 2 || track.kind === "point") continue;
    const at = nearest(track, x, y);
    if (at.distance <= reach) found.push({ kind: "curve", track: track.id, ...at });
  }
  return found;
}

function handlesAt(track, chosen, near) {
  const found = [];
  if (track.interpolation === "bezier" && track.kind !== "freehand") {
    track.points.forEach((point, i) => {
      if (chosen.size && !chosen.has(i)) return;
      for (const side of ["out", "in"]) {
        const [dx, dy] = point[side] ?? [0, 0];
        if ((dx || dy) && near({ x: point.x + dx, y: point.y + dy })) found.push({ kind: side, track: track.id, point: i });
      }
    });
  }
  if (track.kind === "circle") {
    const ends = [track.points[0], track.points.at(-1)];
    track.radius.forEach((radius, end) => {
      const angle = end ? -Math.PI / 4 : Math.PI / 4;
      const place = { x: ends[end].x + radius * Math.cos(angle), y: ends[end].y + radius * Math.sin(angle) };
      if (near(place)) found.push({ kind: "radius", track: track.id, end, center: ends[end] });
    });
  }
  if (track.kind === "grid") {
    gridCorners(track).forEach((corner, i) => near(corner) && found.push({ kind: "corner", track: track.id, corner: i }));
  }
  return found;
}

/** What is inside a rectangle: whole tracks, or the points of those that are inside in part. @returns {Selection} */
export function insideOf(document, { x, y, width, height }) {
  const inside = (point) => point.x >= x && point.x <= x + width && point.y >= y && point.y <= y + height;
  const found = new Map();
  for (const track of document.tracks) {
    if (track.hidden || track.locked) continue;
    const points = track.points.flatMap((point, i) => (inside(point) ? [i] : []));
    if (points.length) found.set(track.id, new Set(points.length === track.points.length ? [] : points));
  }
  return found;
}
