// Draws what is taken hold of: the points of a selected track with what shapes it, and the box round a selection.

import { DARK, LIGHT, discs, stroke } from "./ink.js";
import { boxHandles, boxOf, gridCorners } from "./selection.js";
import { gridPlace } from "./spline.js";
import { drawFirst } from "./track.js";

/** @param {import("./view.js").Scene} scene */
export function drawHandles(ctx, scene, track) {
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
  discs(ctx, ends, 4.75 / scale, LIGHT, scene);
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
    discs(ctx, handle, 5.25 / scale, i ? track.color : LIGHT, scene);
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
  discs(ctx, ends, 5.25 / scale, LIGHT, scene);
}

/** The frame that scales and turns what is selected. */
export function drawBox(ctx, scene) {
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
