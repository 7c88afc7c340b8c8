// What is seen of images: the chains, the way of one of them, and the picture under the brush.

import { signed } from "./charts.js";
import { palette } from "./colours.js";
import { bytes } from "./image_app.js";
import { setText } from "./widgets.js";

const find = (selector) => document.querySelector(selector);
/** Images of a way that are drawn. */
const WAY = 10;

/** Draw all that the app shows. */
export function draw(app) {
  drawChains(app);
  drawWay(app);
  if (app.live) drawPicture(app);
  setText(find("#numbers"), numbers(app));
}

/** The places of what is to come, before there is anything. */
export function expect(app) {
  if (!app.live) return;
  places(app, app.state.chains);
  clearWay(app);
  setText(find("#numbers"), "The network is starting. The first images appear in a moment.");
}

/** A button with a picture for each chain; a press takes it for the brush. */
function places(app, length) {
  const stage = find("#chains");
  if (stage.children.length !== length) stage.replaceChildren(...Array.from({ length }, (_, k) => chain(app, k)));
  return stage;
}

function drawChains(app) {
  const stage = places(app, app.frame.length);
  [...stage.children].forEach((button, k) => {
    paint(button.firstChild, app, app.look(k));
    setText(button.lastChild, caption(app, k));
    button.setAttribute("aria-pressed", k === app.picked);
  });
}

function chain(app, k) {
  const button = document.createElement("button");
  const text = document.createElement("span");
  const canvas = document.createElement("canvas");
  Object.assign(button, { type: "button", title: "Look at this chain" });
  button.dataset.chain = k;
  canvas.width = canvas.height = app.side;
  canvas.setAttribute("aria-hidden", "true");
  button.append(canvas, text);
  return button;
}

/** The class that is likeliest, where there are some. */
function caption(app, k) {
  const { chances } = app.frame[k];
  if (!chances) return `chain ${k + 1}`;
  const best = chances.indexOf(Math.max(...chances));
  return `${app.names[best]} · ${Math.round(100 * chances[best])}%`;
}

/** The way of the picked chain so far, from noise on the left. */
function drawWay(app) {
  const context = clearWay(app);
  for (let k = 0; k < WAY; k++) {
    const at = Math.round((app.shown * k) / (WAY - 1));
    context.putImageData(image(app, app.look(app.picked, at)), k * (app.side + 1), 0);
  }
}

function clearWay(app) {
  const canvas = find("#way");
  [canvas.width, canvas.height] = [WAY * (app.side + 1) - 1, app.side];
  return canvas.getContext("2d");
}

/** The picture, what is hidden of it in colour. */
function drawPicture(app) {
  const canvas = find("#picture");
  canvas.width = canvas.height = app.side;
  paint(canvas, app, app.filling ? app.look(app.picked) : app.picture ? bytes(app.picture) : app.look(app.picked));
  if (app.filling) return;
  const context = canvas.getContext("2d");
  context.fillStyle = palette().left;
  context.globalAlpha = 0.75;
  app.hidden.forEach((on, k) => on && context.fillRect(k % app.side, Math.floor(k / app.side), 1, 1));
}

function paint(canvas, app, pixels) {
  canvas.getContext("2d").putImageData(image(app, pixels), 0, 0);
}

/** Bytes, channel by channel within a pixel, as an image. */
function image({ side, channels }, pixels) {
  const made = new ImageData(side, side);
  for (let k = 0; k < side * side; k++) {
    for (let c = 0; c < 3; c++) made.data[4 * k + c] = pixels[k * channels + (channels === 1 ? 0 : c)];
    made.data[4 * k + 3] = 255;
  }
  return made;
}

/** Where chains stand, in words. */
function numbers(app) {
  if (!app.live) return `frame ${app.shown + 1} of ${app.frames.length}`;
  const { s } = app.frame[0];
  const f = app.frame.reduce((sum, { value }) => sum + value, 0) / app.frame.length;
  const rate = 1000 / (app.busy || 1);
  const speed = app.done ? "done" : `${rate < 10 ? rate.toFixed(1) : Math.round(rate)} steps per second`;
  return `step ${app.shown + 1} of ${app.length} · noise s = ${s.toFixed(2)} · mean f = ${signed(f.toFixed(0))} · ${speed}`;
}
