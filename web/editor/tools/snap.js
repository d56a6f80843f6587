// Where the pointer means: Shift keeps to the axes and diagonals from where it began, Ctrl to a grid. Pure.

export const GRID = 8; // pixels of the document

/** @param {{shiftKey?: boolean, ctrlKey?: boolean, metaKey?: boolean}} keys @param {{x: number, y: number}|null} origin */
export function snapped({ x, y }, keys, origin) {
  if (keys.shiftKey && origin) {
    const [dx, dy] = [x - origin.x, y - origin.y];
    const angle = Math.round(Math.atan2(dy, dx) / (Math.PI / 4)) * (Math.PI / 4);
    const length = dx * Math.cos(angle) + dy * Math.sin(angle);
    return { x: origin.x + length * Math.cos(angle), y: origin.y + length * Math.sin(angle) };
  }
  if (keys.ctrlKey || keys.metaKey) return { x: Math.round(x / GRID) * GRID, y: Math.round(y / GRID) * GRID };
  return { x, y };
}
