// The background of a picture: a landscape in relief with lines of equal height, or a law.

import { palette, ramp } from "./colours.js";
import { SIDE } from "./laws.js";

/** Energies are shown up to so many nats above their minimum, with a line every second one. */
const NATS = 12;
const LINES = [1, 2, 4, 6, 8, 10, 12];

/** Draw −f in relief: light from the upper left, pale where f is high. */
export function drawLandscape(canvas, cells) {
  const top = cells.value.reduce((a, b) => Math.max(a, b), -Infinity);
  const height = cells.value.map((v) => Math.min(top - v, NATS + 2));
  const colour = ramp(palette().energy);
  const perCell = [0, 1].map((i) => (cells.high[i] - cells.low[i]) / SIDE);
  paint(canvas, (k) => {
    const open = Math.min(Math.max((NATS + 2 - height[k]) / 6, 0), 1);
    const slope = (cells.gx[k] * perCell[0] - cells.gy[k] * perCell[1]) * 1.6;
    const light = 1 + 0.16 * open * Math.tanh(slope);
    return colour(Math.sqrt(height[k] / NATS) * 0.95).map((c) => c * light);
  });
  drawLines(canvas, height);
}

/** Draw a law: pale where there is no mass. */
export function drawLaw(canvas, mass, tint) {
  const most = mass.reduce((a, b) => Math.max(a, b), 0) || 1;
  const { mass: stops } = palette();
  const colour = ramp(tint ? [stops[0], tint] : stops);
  paint(canvas, (k) => colour(Math.pow(mass[k] / most, 0.7)), Math.sqrt(mass.length));
}

/** A picture of side × side cells, k -> [r, g, b], stretched over the canvas; y goes up. */
function paint(canvas, colourOf, side = SIDE) {
  const small = document.createElement("canvas");
  small.width = small.height = side;
  const brush = small.getContext("2d");
  const image = brush.createImageData(side, side);
  for (let i = 0; i < side; i++) {
    for (let j = 0; j < side; j++) {
      image.data.set([...colourOf(i * side + j), 255], 4 * ((side - 1 - j) * side + i));
    }
  }
  brush.putImageData(image, 0, 0);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}

/** Lines of equal height, by marching squares between the centres of cells. */
function drawLines(canvas, height) {
  const context = canvas.getContext("2d");
  const scale = canvas.width / SIDE;
  context.strokeStyle = palette().faint;
  context.lineWidth = 0.6 * (canvas.width / canvas.clientWidth || 1);
  for (const level of LINES) {
    context.globalAlpha = level <= 2 ? 0.55 : 0.3;
    context.beginPath();
    for (let i = 0; i < SIDE - 1; i++) {
      for (let j = 0; j < SIDE - 1; j++) {
        const ends = crossings(height, i, j, level);
        for (let k = 0; k + 1 < ends.length; k += 2) {
          const [a, b] = [ends[k], ends[k + 1]];
          context.moveTo((a[0] + 0.5) * scale, canvas.height - (a[1] + 0.5) * scale);
          context.lineTo((b[0] + 0.5) * scale, canvas.height - (b[1] + 0.5) * scale);
        }
      }
    }
    context.stroke();
  }
  context.globalAlpha = 1;
}

/** Where the level crosses the four sides of the square at (i, j), in order around it. */
function crossings(height, i, j, level) {
  const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]];
  const above = corners.map(([a, b]) => height[a * SIDE + b] - level);
  const found = [];
  for (let k = 0; k < 4; k++) {
    const [p, q] = [above[k], above[(k + 1) % 4]];
    if (p > 0 === q > 0) continue;
    const [from, to] = [corners[k], corners[(k + 1) % 4]];
    const share = p / (p - q);
    found.push([from[0] + share * (to[0] - from[0]), from[1] + share * (to[1] - from[1])]);
  }
  return found;
}
