// What dragging does to what is under the pointer, whichever tool is in the hand: points, handles, radii, corners, the box.
// A gesture is {move(at, event), end?(at, event)}; the stage calls begin() and end() of the editor round it.

import { movePoints, setHandle, setTracks, trackById, transformTracks } from "../document.js";
import { chosenPoints } from "../selection.js";
import { gridPlace } from "../spline.js";
import { snapped } from "./snap.js";

/** The gesture that drags a hit (selection.js: hitsAt), which has been selected. @param {{x: number, y: number}} from */
export function dragHit(editor, hit, from) {
  if (hit.kind === "box") return hit.handle.name === "turn" ? turn(editor, hit, from) : scale(editor, hit, from);
  if (hit.kind === "in" || hit.kind === "out") return handle(editor, hit);
  if (hit.kind === "radius") return radius(editor, hit);
  if (hit.kind === "corner") return corner(editor, hit);
  return move(editor, hit, from);
}

/** Moves the selection; the grabbed point goes to the pointer, and snaps as it does. Alt leaves a copy behind. */
function move(editor, hit, from) {
  let document = editor.document;
  let ready = false;
  const point = hit.kind === "point" ? trackById(document, hit.track)?.points[hit.point] : null;
  const origin = point ? { x: point.x, y: point.y } : from;
  return {
    cursor: "grabbing",
    move(at, event) {
      if (!ready && event.altKey) {
        editor.duplicate(0, 0);
        document = editor.document;
      }
      ready = true;
      const target = snapped({ x: at.x - from.x + origin.x, y: at.y - from.y + origin.y }, event, origin);
      editor.edit(movePoints(document, chosenPoints(document, editor.selection), target.x - origin.x, target.y - origin.y), "move");
    },
  };
}

function scale(editor, { handle: { x, y, anchor }, bounds }, from) {
  const document = editor.document;
  const ids = editor.chosenIds;
  const middle = { x: bounds.x + bounds.width / 2, y: bounds.y + bounds.height / 2 };
  return {
    cursor: "nwse-resize",
    move(at, event) {
      const fixed = event.altKey ? middle : anchor;
      const place = { x: x + at.x - from.x, y: y + at.y - from.y };
      let sx = ratio(place.x - fixed.x, x - fixed.x);
      let sy = ratio(place.y - fixed.y, y - fixed.y);
      if (event.shiftKey) sx = sy = Math.abs(sx - 1) > Math.abs(sy - 1) ? sx : sy;
      editor.edit(transformTracks(document, ids, { sx, sy, center: [fixed.x, fixed.y] }), "scale");
    },
  };
}

const ratio = (value, base) => (Math.abs(base) < 1e-9 ? 1 : value / base || 1e-6);

function turn(editor, { bounds }, from) {
  const document = editor.document;
  const ids = editor.chosenIds;
  const center = [bounds.x + bounds.width / 2, bounds.y + bounds.height / 2];
  const angle = ({ x, y }) => (Math.atan2(y - center[1], x - center[0]) * 180) / Math.PI;
  const first = angle(from);
  return {
    cursor: "grabbing",
    move(at, event) {
      let degrees = angle(at) - first;
      if (event.shiftKey) degrees = Math.round(degrees / 15) * 15;
      editor.edit(transformTracks(document, ids, { degrees, center }), "turn");
    },
  };
}

function handle(editor, { track, point, kind }) {
  const document = editor.document;
  const { x, y } = trackById(document, track).points[point];
  return {
    cursor: "grabbing",
    move(at, event) {
      const place = snapped(at, event, { x, y });
      editor.edit(setHandle(document, track, point, kind, [place.x - x, place.y - y], { mirrored: !event.altKey }), "handle");
    },
  };
}

function radius(editor, { track, end, center }) {
  const document = editor.document;
  const before = trackById(document, track).radius;
  return {
    cursor: "nwse-resize",
    move(at) {
      const value = Math.hypot(at.x - center.x, at.y - center.y);
      const after = before.map((other, i) => (i === end ? value : other));
      editor.edit(setTracks(document, [track], { radius: after }), "radius");
    },
  };
}

/** The rectangle grows round its middle, which is on the path. */
function corner(editor, { track }) {
  const document = editor.document;
  const { grid, points: [{ x, y }] } = trackById(document, track);
  return {
    cursor: "nwse-resize",
    move(at, event) {
      const [dx, dy] = gridPlace({ width: at.x - x, height: at.y - y, angle: -grid.angle }, 1.5, 1.5); // along its own sides
      let [width, height] = [2 * Math.abs(dx), 2 * Math.abs(dy)];
      if (event.shiftKey && grid.height > 0) height = (width * grid.height) / grid.width;
      editor.edit(setTracks(document, [track], { grid: { ...grid, width, height } }), "grid");
    },
  };
}

