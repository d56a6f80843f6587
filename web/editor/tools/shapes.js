// Static points, circles that grow, and grids that move together: one click or drag each.

import { addTrack, setTracks, trackById } from "../document.js";
import { dragHit } from "./drag.js";
import { CURSORS, pick } from "./select.js";
import { snapped } from "./snap.js";

/** A tool that makes a track where there is none, and drags what is there. */
function shape(properties, make, size) {
  return {
    ...properties,
    start({ editor, at, hits, event, scale }) {
      const hit = hits.find(({ kind }) => kind !== "curve");
      if (hit) {
        pick(editor, hit, event);
        return dragHit(editor, hit, at);
      }
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
  { id: "grid", label: "Grid", key: "g", help: "Drag from the middle: a rectangle of points that move together" },
  (at, { canvas }) => ({ kind: "grid", points: [at], grid: { width: canvas.width / 4, height: canvas.height / 4, columns: 4, rows: 3 } }),
  (from, to, event, track) => {
    const [width, height] = [2 * Math.abs(to.x - from.x), 2 * Math.abs(to.y - from.y)];
    return { grid: { ...track.grid, width, height: event.shiftKey ? width : height } };
  },
);
