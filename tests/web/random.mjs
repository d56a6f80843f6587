// Random but repeatable drawings, with everything that may coincide, lie outside or be left out.

/** mulberry32: numbers in 0..1 from a seed. */
export function randomNumbers(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 4294967296;
  };
}

export function randomDocument(seed) {
  const random = randomNumbers(seed);
  const pick = (...choices) => choices[Math.floor(random() * choices.length)];
  const place = () => pick(random() * 200, -random() * 1e6, random() * 1e6, 0, 50, 50, 1e-300);
  const timing = () => {
    const start = pick(0, random() * 10, -random() * 20);
    const handle = () => [random(), random() * 20 - 10];
    const curve = pick("linear", "ease-in", "ease-out", "ease-in-out", [handle(), handle()]);
    const [before, after] = [pick("hold", "hidden"), pick("hold", "hidden")];
    return pick(undefined, { start, end: start + pick(0, 1e-12, random() * 30), curve, before, after });
  };
  const tracks = Array.from({ length: 1 + Math.floor(random() * 4) }, (_, index) => {
    const count = 1 + Math.floor(random() * 6);
    const times = Array.from({ length: count }, () => pick(0, random(), 1)).sort((a, b) => a - b);
    const points = times.map((t) => ({ x: place(), y: place(), t, in: [place(), place()], out: [place(), place()] }));
    const kind = pick("spline", "freehand", "point", "circle", "grid");
    const mask = pick(undefined, [[0, 0], [1, 0], [random(), 1]]);
    return {
      id: `t${index}`, kind, points, timing: timing(), closed: pick(true, false), tension: random() * 4 - 2,
      interpolation: pick("cardinal", "monotone", "bezier", "linear", "step"),
      radius: [random() * 100, pick(0, random() * 100)], spokes: pick(undefined, 1, 5),
      grid: { width: random() * 100, height: pick(0, 10), columns: pick(1, 3), rows: pick(1, 4), mask, angle: pick(undefined, 0, -400, random() * 90) },
      visibility: pick(undefined, null, [], [[1, 3], [2, random() * 9 + 2]]), hidden: random() < 0.1,
    };
  });
  const camera = Array.from({ length: Math.floor(random() * 3) }, (_, index) => ({
    id: `c${index}`, kind: pick("pan", "zoom", "rotate"), x: place(), y: place(),
    factor: pick(0.001, 1, 1000), degrees: pick(-720, 5, 1e6),
    center: pick(undefined, null, [place(), place()]), timing: timing(), tracks: pick(undefined, null, ["t0"], []),
  }));
  const canvas = { width: 200, height: 100 };
  return { version: 1, canvas, frames: 1 + Math.floor(random() * 20), fps: 16, tracks, camera };
}
