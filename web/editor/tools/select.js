// Select and move: click a track or a point, drag it, drag a frame round many, double-click the curve for a new point.

import { insertPoint } from "../document.js";
import { insideOf } from "../selection.js";
import { dragHit } from "./drag.js";

let last = { x: 0, y: 0, index: 0, key: "" }; // of clicks at one place, which go through what lies there

/** @type {import("../stage.js").Tool} */
export const select = {
  id: "select",
  label: "Select and move",
  key: "v",
  help: "Click a track or a point; drag to move; Shift-click adds; Alt-drag leaves a copy; double-click the curve inserts",

  start({ editor, at, hits, event, reach, double }) {
    if (!hits.length) {
      last.key = "";
      return marquee(editor, at, event);
    }
    const hit = hits[double ? Math.min(last.index, hits.length - 1) : cycled(hits, at, reach)];
    pick(editor, hit, event);
    return dragHit(editor, hit, at);
  },

  hover({ hits }) {
    const hit = hits[0];
    return hit ? { ...hit, cursor: CURSORS[hit.kind] ?? "grab" } : null;
  },

  double({ editor, hits }) {
    const hit = hits.find(({ kind }) => kind === "curve");
    if (hits[0]?.kind === "curve") insertAt(editor, hit);
  },
};

export const CURSORS = { box: "nwse-resize", radius: "nwse-resize", corner: "nwse-resize", point: "move", curve: "grab" };

/** Inserts a point on the curve where it was hit, and selects it. @returns the new hit */
export function insertAt(editor, hit) {
  editor.edit(insertPoint(editor.document, hit.track, hit.segment, hit.u), "insert point");
  editor.select(new Map([[hit.track, new Set([hit.segment + 1])]]));
  return { kind: "point", track: hit.track, point: hit.segment + 1 };
}

/** The next of several tracks under one place with every click there. */
function cycled(hits, at, reach) {
  const key = hits.map(({ kind, track, point }) => `${kind} ${track} ${point}`).sort().join();
  const again = key === last.key && Math.hypot(at.x - last.x, at.y - last.y) < reach / 2;
  const handle = hits[0].kind !== "point" && hits[0].kind !== "curve";
  last = { ...at, key, index: again && !handle ? (last.index + 1) % hits.length : 0 };
  return last.index;
}

/** Selects what was hit: a point alone, a whole track by its curve; Shift adds or takes away. */
export function pick(editor, hit, event) {
  if (!hit.track) return;
  const { selection } = editor;
  const chosen = selection.get(hit.track);
  const isPoint = hit.kind === "point";
  if (event.shiftKey) {
    const next = new Map(selection);
    if (!isPoint) chosen ? next.delete(hit.track) : next.set(hit.track, new Set());
    else {
      const points = new Set(chosen);
      points.has(hit.point) ? points.delete(hit.point) : points.add(hit.point);
      next.set(hit.track, points);
    }
    return editor.select(next);
  }
  const already = chosen && (isPoint ? chosen.has(hit.point) : !chosen.size);
  if (already) return;
  if (["point", "curve"].includes(hit.kind)) editor.select(new Map([[hit.track, new Set(isPoint ? [hit.point] : [])]]));
}

function marquee(editor, from, { shiftKey }) {
  const before = shiftKey ? editor.selection : new Map();
  editor.select(before);
  return {
    cursor: "crosshair",
    move(at) {
      const box = { x: Math.min(from.x, at.x), y: Math.min(from.y, at.y), width: Math.abs(at.x - from.x), height: Math.abs(at.y - from.y) };
      editor.marquee = box;
      editor.select(new Map([...before, ...insideOf(editor.document, box)]));
    },
    end() {
      editor.marquee = null;
      editor.tell("selection");
    },
  };
}
