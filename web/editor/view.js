// Draws a document: draw(context, scene). It keeps no state but paths cached by (never mutated) track objects, and knows
// no events. Two layers, so that a drag redraws only what is selected: `drawBack` the picture and the tracks at rest,
// `drawFront` the selected tracks, their handles and where every point is at the frame.

import { drawBox, drawHandles } from "./handles.js";
import { DARK, LIGHT, discs, stroke } from "./ink.js";
import { evaluate } from "./spline.js";
import { drawTrack } from "./track.js";

/**
 * @typedef {{document: object, viewport: import("./viewport.js").Viewport, width: number, height: number, ratio: number,
 *   frame: number, picture: CanvasImageSource|null, selection: Map<string, Set<number>>, hover: object|null,
 *   marquee: object|null, box: boolean, touch: boolean}} Scene  width, height: the window in CSS pixels; ratio: device pixels each
 */

/** The picture, dimmed outside the canvas, and the curves of all tracks that are not selected. @param {Scene} scene */
export function drawBack(ctx, scene) {
  const { document, viewport, width, height, ratio, picture } = scene;
  const { width: w, height: h } = document.canvas;
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  toPicture(ctx, scene);
  ctx.fillStyle = "#161616";
  ctx.fillRect(0, 0, w, h);
  if (picture) {
    ctx.imageSmoothingEnabled = viewport.scale < 4;
    ctx.drawImage(picture, 0, 0, w, h);
  } else drawPaper(ctx, w, h, viewport.scale);
  ctx.lineWidth = 1 / viewport.scale;
  ctx.strokeStyle = "rgba(255,255,255,.35)";
  ctx.strokeRect(0, 0, w, h);
  for (const track of document.tracks) {
    if (!track.hidden && !scene.selection.has(track.id)) drawTrack(ctx, scene, track, false);
  }
}

/** Selected tracks, handles, and every point at the frame. @param {Scene} scene */
export function drawFront(ctx, scene) {
  const { document, width, height, ratio, selection } = scene;
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  toPicture(ctx, scene);
  const chosen = document.tracks.filter((track) => !track.hidden && selection.has(track.id));
  for (const track of chosen) drawTrack(ctx, scene, track, true);
  for (const track of chosen) drawHandles(ctx, scene, track);
  if (scene.box) drawBox(ctx, scene);
  drawHeads(ctx, scene);
  if (scene.hover?.ghost) drawGhost(ctx, scene, scene.hover.ghost);
  if (scene.marquee) drawMarquee(ctx, scene, scene.marquee);
}

function toPicture(ctx, { viewport: { x, y, scale }, ratio }) {
  ctx.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * x, ratio * y);
}

/** Squares where there is no picture yet, so that size and distance can be judged. */
function drawPaper(ctx, w, h, scale) {
  ctx.beginPath();
  for (let x = 64; x < w; x += 64) ctx.rect(x, 0, 0, h);
  for (let y = 64; y < h; y += 64) ctx.rect(0, y, w, 0);
  ctx.lineWidth = 1 / scale;
  ctx.strokeStyle = "rgba(255,255,255,.07)";
  ctx.stroke();
}

// The frame

/** Where every point is now; hollow where it is not visible. */
function drawHeads(ctx, scene) {
  const { document, frame } = scene;
  const { scale } = scene.viewport;
  const { paths: found, owners } = evaluate(document, [frame]);
  found.forEach(([{ x, y, visible }], i) => {
    const track = document.tracks[owners[i].index];
    const main = owners[i].part === 0 || track.kind === "grid";
    const r = (main ? (track.kind === "grid" ? 4 : 7) : 4) / scale;
    if (visible) {
      discs(ctx, [x, y], r + 1.5 / scale, LIGHT, scene);
      ctx.beginPath();
      ctx.arc(x, y, r - 1 / scale, 0, 2 * Math.PI);
      ctx.fillStyle = track.color;
      ctx.fill();
      return;
    }
    ctx.beginPath();
    ctx.arc(x, y, r, 0, 2 * Math.PI);
    ctx.lineWidth = 4 / scale;
    ctx.strokeStyle = DARK;
    ctx.stroke();
    ctx.lineWidth = 2 / scale;
    ctx.strokeStyle = track.color;
    ctx.setLineDash([3 / scale, 3 / scale]);
    ctx.stroke();
    ctx.setLineDash([]);
  });
}

/** Where a click would put a point. */
function drawGhost(ctx, scene, { x, y, color, from }) {
  const { scale } = scene.viewport;
  if (from) {
    const path = new Path2D();
    path.moveTo(from.x, from.y);
    path.lineTo(x, y);
    ctx.globalAlpha = 0.7;
    ctx.setLineDash([4 / scale, 4 / scale]);
    stroke(ctx, path, color, 1.25 / scale, 1 / scale);
    ctx.setLineDash([]);
    ctx.globalAlpha = 1;
  }
  discs(ctx, [x, y], 4.25 / scale, color, scene);
}

function drawMarquee(ctx, scene, { x, y, width, height, points }) {
  const { scale } = scene.viewport;
  const path = new Path2D();
  if (points) points.forEach((point) => path.lineTo(point.x, point.y));
  else path.rect(x, y, width, height);
  if (!points) {
    ctx.fillStyle = "rgba(120,170,255,.15)";
    ctx.fill(path);
  }
  stroke(ctx, path, "#9ec5ff", 1.25 / scale, 1 / scale);
}
