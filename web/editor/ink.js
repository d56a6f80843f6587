// What the layers are drawn with: lines, discs and marks that read on any picture, of one size on the screen whatever the
// zoom. Knows a canvas and where the picture lies in it; knows no tracks.
//
// Without a graphics card a browser draws lines of one device pixel ten times as fast as wide ones, and discs faster one
// by one than as one path (benchmarks/LOG.md): what there is much of is made of these.

export const DARK = "rgba(0,0,0,.75)";
export const LIGHT = "#ffffff";

/** @typedef {{viewport: {scale: number}, ratio: number}} Screen  ratio: device pixels in a CSS pixel */

/** Whether pixels are so large that lines of one lie side by side without a gap. @param {Screen} screen */
const coarse = ({ ratio }) => ratio <= 1.25;

/** The width of one device pixel where pixels are large, else of so many CSS pixels. @param {Screen} screen */
const hair = (screen, width) => (coarse(screen) ? 0.99 / screen.ratio : width) / screen.viewport.scale;

/** A coloured line with a dark edge. Widths in document pixels. @param {Path2D} path */
export function stroke(ctx, path, color, width, edge) {
  ctx.strokeStyle = DARK;
  ctx.lineWidth = width + edge;
  ctx.stroke(path);
  ctx.strokeStyle = color;
  ctx.lineWidth = width;
  ctx.stroke(path);
}

const EDGE = [[0, -1.15], [1, 0.575], [-1, 0.575]]; // in every direction one on either side
const CORE = [[0, 0], [0.5, 0.5]];

/** A line as `stroke` makes it, of lines of one device pixel beside each other where pixels are large. @param {Screen} screen */
export function thin(ctx, path, color, screen) {
  const { scale } = screen.viewport;
  if (!coarse(screen)) return stroke(ctx, path, color, 1.75 / scale, 2 / scale);
  ctx.lineWidth = hair(screen, 1);
  for (const [style, places] of [[DARK, EDGE], [color, CORE]]) {
    ctx.strokeStyle = style;
    for (const [x, y] of places) {
      ctx.translate(x / scale, y / scale);
      ctx.stroke(path);
      ctx.translate(-x / scale, -y / scale);
    }
  }
}

/**
 * White strokes across a line, but none so near the last one that they would hide its colour. @param {Screen} screen
 * @param {Float64Array} marks  x, y and the unit vector across the line, one mark after another
 */
export function ticks(ctx, marks, screen) {
  const { scale } = screen.viewport;
  const half = 1.3 / scale;
  let [x, y] = [Infinity, Infinity];
  ctx.beginPath();
  for (let i = 0; i < marks.length; i += 4) {
    if (Math.abs(marks[i] - x) + Math.abs(marks[i + 1] - y) < 3 / scale) continue;
    x = marks[i];
    y = marks[i + 1];
    const dx = marks[i + 2] * half;
    const dy = marks[i + 3] * half;
    ctx.moveTo(x - dx, y - dy);
    ctx.lineTo(x + dx, y + dy);
  }
  ctx.lineCap = "butt";
  ctx.lineWidth = hair(screen, 1.6);
  ctx.strokeStyle = LIGHT;
  ctx.stroke();
}

/**
 * Discs with a dark rim. @param {Screen} screen
 * @param {number[]} xy  x0, y0, x1, y1 … @param {number} radius  document pixels
 */
export function discs(ctx, xy, radius, color, screen) {
  ctx.fillStyle = color;
  ctx.strokeStyle = DARK;
  ctx.lineWidth = hair(screen, 1.2);
  for (let i = 0; i < xy.length; i += 2) {
    ctx.beginPath();
    ctx.arc(xy[i], xy[i + 1], radius, 0, 2 * Math.PI);
    ctx.fill();
    ctx.stroke();
  }
}

const ROUND = [[DARK, 3.5, 2.1], [LIGHT, 2.5, 1.5]];

/** White dots with a dark rim; where pixels are large, crosses of two rectangles look the same. @param {Screen} screen */
export function dots(ctx, xy, screen) {
  const { scale } = screen.viewport;
  if (!coarse(screen)) return discs(ctx, xy, 2.9 / scale, LIGHT, screen);
  for (const [color, long, short] of ROUND) {
    const [a, b] = [long / scale, short / scale];
    ctx.fillStyle = color;
    for (let i = 0; i < xy.length; i += 2) {
      ctx.fillRect(xy[i] - a, xy[i + 1] - b, 2 * a, 2 * b);
      ctx.fillRect(xy[i] - b, xy[i + 1] - a, 2 * b, 2 * a);
    }
  }
}
