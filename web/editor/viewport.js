// Where the picture lies in the window: one scale and one offset, in CSS pixels. Pure; knows no document and no page.

export const ZOOM = [0.02, 64];

/** @typedef {{x: number, y: number, scale: number}} Viewport  screen = document * scale + (x, y) */

/** The whole canvas in the middle of a window, with a margin. @returns {Viewport} */
export function fit(canvas, width, height, margin = 16) {
  const room = [Math.max(width - 2 * margin, 8), Math.max(height - 2 * margin, 8)];
  const scale = Math.min(room[0] / canvas.width, room[1] / canvas.height);
  return { scale, x: (width - canvas.width * scale) / 2, y: (height - canvas.height * scale) / 2 };
}

/** Enlarged by `factor` with the place (x, y) of the window held. @param {Viewport} view */
export function zoomAt(view, factor, x, y) {
  const scale = Math.min(Math.max(view.scale * factor, ZOOM[0]), ZOOM[1]);
  const ratio = scale / view.scale;
  return { scale, x: x - (x - view.x) * ratio, y: y - (y - view.y) * ratio };
}

/** @param {Viewport} view */
export const panned = (view, dx, dy) => ({ ...view, x: view.x + dx, y: view.y + dy });

/** @param {Viewport} view */
export const toScreen = (view, x, y) => ({ x: x * view.scale + view.x, y: y * view.scale + view.y });

/** @param {Viewport} view */
export const toDocument = (view, x, y) => ({ x: (x - view.x) / view.scale, y: (y - view.y) / view.scale });
