// Static points, circles that grow, and grids that move together: one click or drag each.

import { addTrack, setTracks, trackById } from "../document.js";
import { dragHit } from "./drag.js";
import { CURSORS, pick } from "./select.js";
import { snapped } from "./snap.js";

/** A tool that makes a track where there is none, and drags what is there. */
function shape(properties, make, size, lasso) {
  return {
    ...properties,
    start({ editor, at, hits, event, scale }) {
      const hit = hits.find(({ kind }) => kind !== "curve");
      if (hit) {
        pick(editor, hit, event);
        return dragHit(editor, hit, at);
      }
      if (lasso && event.altKey) return lasso(editor, at, scale);
      const place = snapped(at, event, null);
      const index = editor.document.tracks.length;
      if (!editor.attempt(() => addTrack(editor.document, make(place, editor.document)), properties.label.toLowerCase())) return null;
      const { id } = editor.document.tracks[index];
      editor.selectTracks([id]);
      const document = editor.document;
      if (!size) return dragHit(editor, { kind: "point", track: id, point: 0 }, place);
      return {
        cursor: "crosshair",
        move(to, event) {
          if (Math.hypot(to.x - place.x, to.y - place.y) * scale < 4) return;
          editor.edit(setTracks(document, [id], size(place, to, event, trackById(document, id))), properties.label.toLowerCase());
        },
      };
    },
    hover({ hits }) {
      const hit = hits.find(({ kind }) => kind !== "curve");
      return hit ? { ...hit, cursor: CURSORS[hit.kind] ?? "grab" } : { cursor: "crosshair" };
    },
  };
}

export const point = shape(
  { id: "point", label: "Static point", key: "p", help: "Click: a point that stands still and holds the picture there" },
  (at) => ({ kind: "point", points: [at] }),
);

export const circle = shape(
  { id: "circle", label: "Circle", key: "c", help: "Drag from the middle: points on a circle; its radius may change over time (zoom)" },
  (at, { canvas }) => ({ kind: "circle", points: [at], radius: [canvas.width / 16, canvas.width / 8] }),
  (from, to) => {
    const radius = Math.hypot(to.x - from.x, to.y - from.y);
    return { radius: [radius, radius * 1.5] };
  },
);

export const grid = shape(
  { id: "grid", label: "Grid", key: "g", help: "Drag from the middle: a rectangle of points that move together; Alt-drag draws round what is to be filled" },
  (at, { canvas }) => ({ kind: "grid", points: [at], grid: { width: canvas.width / 4, height: canvas.height / 4, columns: 4, rows: 3 } }),
  (from, to, event, track) => {
    const [width, height] = [2 * Math.abs(to.x - from.x), 2 * Math.abs(to.y - from.y)];
    return { grid: { ...track.grid, width, height: event.shiftKey ? width : height } };
  },
  lasso,
);

/** A grid in the shape that is drawn round: its rectangle is the line's box, its mask the line. */
function lasso(editor, from, scale) {
  const line = [{ ...from }];
  return {
    cursor: "crosshair",
    every(at) {
      const last = line.at(-1);
      if (Math.hypot(at.x - last.x, at.y - last.y) * scale > 3) line.push({ ...at });
    },
    move() {
      editor.marquee = { points: line };
      editor.tell("hover");
    },
    end() {
      editor.marquee = null;
      editor.tell("hover");
      if (line.length < 3) return;
      const [left, right] = [Math.min(...line.map(({ x }) => x)), Math.max(...line.map(({ x }) => x))];
      const [top, bottom] = [Math.min(...line.map(({ y }) => y)), Math.max(...line.map(({ y }) => y))];
      const [width, height] = [Math.max(right - left, 1), Math.max(bottom - top, 1)];
      const mask = line.map(({ x, y }) => [(x - left) / width, (y - top) / height]);
      const made = { kind: "grid", points: [{ x: left + width / 2, y: top + height / 2 }], grid: { width, height, columns: 8, rows: 8, mask } };
      const index = editor.document.tracks.length;
      if (editor.attempt(() => addTrack(editor.document, made), "grid")) editor.selectTracks([editor.document.tracks[index].id]);
    },
  };
}
