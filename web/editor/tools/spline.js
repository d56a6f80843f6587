// The spline tool: a click in the open adds a point, on the curve inserts one, on a point drags it; double-click or Enter ends.

import { addTrack, setHandle, trackById } from "../document.js";
import { dragHit } from "./drag.js";
import { CURSORS, insertAt, pick } from "./select.js";
import { snapped } from "./snap.js";

/** @type {import("../stage.js").Tool} */
export const spline = {
  id: "spline",
  label: "Spline",
  key: "s",
  help: "Click adds a point, double-click or Enter ends; click on the curve inserts; drag a point moves it; click a last point goes on",

  start({ editor, at, hits, event }) {
    const hit = useful(editor, hits);
    if (hit?.kind === "curve") {
      return dragHit(editor, insertAt(editor, hit), { x: hit.x, y: hit.y });
    }
    if (hit) {
      pick(editor, hit, event);
      goOn(editor, hit);
      return dragHit(editor, hit, at);
    }
    const place = snapped(at, event, lastPoint(editor));
    if (editor.drawing) editor.append(place.x, place.y);
    else if (!begin(editor, place)) return null;
    return pull(editor, editor.drawing, at);
  },

  hover({ editor, at, hits, event }) {
    const hit = useful(editor, hits);
    if (hit && hit.kind !== "curve") return { ...hit, cursor: CURSORS[hit.kind] ?? "grab" };
    const track = trackById(editor.document, hit?.track ?? editor.drawing);
    const from = hit ? null : lastPoint(editor);
    const place = hit ?? snapped(at, event, from);
    return { cursor: hit ? "copy" : "crosshair", ghost: { x: place.x, y: place.y, color: track?.color ?? "#ffffff", from } };
  },

  double({ editor }) {
    editor.finish();
  },
};

/** A curve is only for inserting when its track is selected: new tracks may begin on others. */
function useful(editor, hits) {
  return hits.find(({ kind, track }) => kind !== "curve" || (editor.selection.has(track) && !isStroke(editor, track)));
}

const isStroke = (editor, id) => trackById(editor.document, id)?.kind === "freehand";

function begin(editor, place) {
  const before = editor.document.tracks.length;
  if (!editor.attempt(() => addTrack(editor.document, { kind: "spline", points: [place] }), "new track")) return false;
  editor.drawing = editor.document.tracks[before].id;
  editor.selectTracks([editor.drawing]);
  return true;
}

/** A click on the last point of a track that is complete goes on with it: circles and grids get a path so. */
function goOn(editor, { kind, track, point }) {
  const { kind: of, points } = trackById(editor.document, track) ?? {};
  if (kind !== "point" || point !== points.length - 1 || of === "freehand" || of === "point") return;
  editor.drawing = track;
  editor.tell("selection");
}

function lastPoint(editor) {
  return trackById(editor.document, editor.drawing)?.points.at(-1) ?? null;
}

/** Dragging on after a click: pulls the handles of a Bézier curve, else moves the new point. */
function pull(editor, id, from) {
  const track = trackById(editor.document, id);
  const index = track.points.length - 1;
  if (track.interpolation !== "bezier") {
    editor.select(new Map([[id, new Set([index])]]));
    return dragHit(editor, { kind: "point", track: id, point: index }, from);
  }
  const document = editor.document;
  const { x, y } = track.points[index];
  return {
    cursor: "grabbing",
    move: (at) => editor.edit(setHandle(document, id, index, "out", [at.x - x, at.y - y]), "add point"),
  };
}
