"use strict";

/* Curves: values at the pointer or the arrow keys, one zoom for all charts of a link. */

const minus = (text) => text.replace(/-/g, "−");

/** A number as people write it. */
function written(value) {
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return minus(value.toLocaleString("en"));
  return minus(String(Number(value.toPrecision(4))));
}

/** About so many round numbers from low to high. */
function steps(low, high, most) {
  const unit = 10 ** Math.floor(Math.log10((high - low) / most));
  const step = unit * [1, 2, 2.5, 5, 10].find((m) => (high - low) / (unit * m) <= most + 1e-9);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k <= Math.floor(high / step + 1e-9); k += 1) found.push(Number((k * step).toPrecision(12)));
  return found;
}

/** The place of the number in a sorted list that is nearest to x. */
function nearest(list, x) {
  let low = 0;
  let high = list.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (list[middle] < x) low = middle;
    else high = middle;
  }
  return Math.abs(list[low] - x) <= Math.abs(list[high] - x) ? low : high;
}

class Chart {
  constructor(figure) {
    this.figure = figure;
    this.data = JSON.parse(figure.querySelector("script").textContent);
    this.frame = figure.querySelector(".frame");
    this.plot = figure.querySelector(".plot");
    this.cursor = figure.querySelector(".cursor");
    this.window = figure.querySelector(".window");
    this.readout = figure.querySelector(".readout");
    this.idle = this.readout.textContent;
    this.ticks = figure.querySelector(".axis .x");
    this.rules = figure.querySelector(".axis .y");
    this.range = this.data.x;
    this.at = null;
    this.listen();
  }

  listen() {
    const frame = this.frame;
    frame.addEventListener("pointermove", (event) => this.move(event));
    frame.addEventListener("pointerdown", (event) => this.press(event));
    frame.addEventListener("pointerup", (event) => this.release(event));
    frame.addEventListener("pointerleave", () => { if (this.from === undefined) this.leave(); });
    frame.addEventListener("dblclick", () => zoom(this, this.data.x));
    this.figure.addEventListener("keydown", (event) => this.key(event));
    this.figure.addEventListener("blur", () => this.leave());
  }

  /** x as people write it: the name of a category, a date or a number. */
  spelled(x) {
    const { names, dates } = this.data;
    if (names.length) return names[Math.min(names.length - 1, Math.max(0, Math.round(x)))];
    return dates ? new Date(x * 864e5).toISOString().slice(0, 10) : written(x);
  }

  /** x under the pointer. */
  under(event) {
    const box = this.plot.getBoundingClientRect();
    const frame = this.frame.getBoundingClientRect();
    const share = frame.width / this.frame.viewBox.baseVal.width;
    const left = frame.left + this.plot.x.baseVal.value * share;
    const width = this.plot.width.baseVal.value * share || box.width;
    const part = Math.min(1, Math.max(0, (event.clientX - left) / width));
    return this.range[0] + part * (this.range[1] - this.range[0]);
  }

  press(event) {
    if (event.button !== 0 || event.pointerType === "touch") return;
    this.from = this.under(event);
    this.frame.setPointerCapture(event.pointerId);
  }

  move(event) {
    const x = this.under(event);
    this.show(x);
    if (this.from !== undefined) {
      this.window.setAttribute("x", Math.min(this.from, x));
      this.window.setAttribute("width", Math.abs(x - this.from));
      this.window.setAttribute("visibility", "visible");
    }
  }

  release(event) {
    if (this.from === undefined) return;
    const ends = [this.from, this.under(event)].sort((a, b) => a - b);
    this.from = undefined;
    this.window.setAttribute("visibility", "hidden");
    if (ends[1] - ends[0] > 0.02 * (this.range[1] - this.range[0])) zoom(this, ends);
  }

  key(event) {
    const first = this.data.lines[0];
    if (!first) return;
    if (event.key === "Escape") zoom(this, this.data.x);
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!way) return;
    event.preventDefault();
    const last = first.x.length - 1;
    const here = this.at === null ? (way > 0 ? -1 : last + 1) : nearest(first.x, this.at);
    const stride = event.shiftKey ? 10 : 1;
    this.show(first.x[Math.min(last, Math.max(0, here + way * stride))]);
  }

  /** Say what the lines are at x, and which mark is there. */
  show(x) {
    const first = this.data.lines[0];
    if (!first) return;
    this.at = first.x[nearest(first.x, x)];
    const alone = this.data.lines.length === 1;
    const values = this.data.lines.map((line) => (alone ? "" : `${line.name} `) + written(line.y[nearest(line.x, this.at)]));
    const close = 0.015 * (this.range[1] - this.range[0]);
    const marks = this.data.marks.filter((mark) => Math.abs(mark.x - x) < close).map((mark) => mark.words);
    this.readout.textContent = `${this.data.name} ${this.spelled(this.at)}: ${[values.join(", "), ...marks].join(" · ")}`;
    this.cursor.setAttribute("x1", this.at);
    this.cursor.setAttribute("x2", this.at);
    this.cursor.setAttribute("visibility", "visible");
  }

  leave() {
    this.at = null;
    this.readout.textContent = this.idle;
    this.cursor.setAttribute("visibility", "hidden");
  }

  /** Draw this part of the axis only, and as much of y as there is in it. */
  zoomTo(range) {
    this.range = range;
    const y = this.data.y && this.within(range);
    const [top, height] = y ? this.band(y) : [0, 1];
    this.plot.setAttribute("viewBox", `${range[0]} ${top} ${range[1] - range[0]} ${height}`);
    this.label(range);
    if (y) this.rule(y);
  }

  /** The least and the largest y in a range of x, with a little room; the whole axis if all is shown. */
  within(range) {
    if (range[0] <= this.data.x[0] && range[1] >= this.data.x[1]) return this.data.y;
    const values = this.data.lines.flatMap((line) => line.y.filter((_, k) => line.x[k] >= range[0] && line.x[k] <= range[1]));
    if (!values.length) return this.data.y;
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const room = 0.06 * (high - low) || 0.5;
    return [low - room, high + room];
  }

  /** A range of y as top and height of the view, which is 1 high from the largest y down. */
  band([low, high]) {
    const [least, most] = this.data.y;
    return [(most - high) / (most - least), (high - low) / (most - least)];
  }

  /** Round numbers below. */
  label(range) {
    const [left, width] = [this.plot.x.baseVal.value, this.plot.width.baseVal.value];
    const model = this.ticks.querySelector("text");
    const places = steps(range[0], range[1], this.data.dates ? 3 : 4).filter((x) => !this.data.names.length || Number.isInteger(x));
    this.ticks.replaceChildren(...places.map((x) => {
      const text = model.cloneNode();
      text.setAttribute("x", left + (width * (x - range[0])) / (range[1] - range[0]));
      text.textContent = this.spelled(x);
      return text;
    }));
  }

  /** Round numbers and rules at the side. */
  rule([low, high]) {
    const [top, height] = [this.plot.y.baseVal.value, this.plot.height.baseVal.value];
    const models = [this.rules.querySelector("line"), this.rules.querySelector("text")];
    this.rules.replaceChildren(...steps(low, high, 4).flatMap((y) => {
      const [line, text] = models.map((model) => model.cloneNode());
      const place = top + (height * (high - y)) / (high - low);
      line.setAttribute("y1", place);
      line.setAttribute("y2", place);
      text.setAttribute("y", place + 3.5);
      text.textContent = written(y);
      return [line, text];
    }));
  }
}

const charts = [...document.querySelectorAll(".chart")].map((figure) => new Chart(figure));

/** Show this part of a chart, and of all charts linked with it. */
function zoom(chart, range) {
  const link = chart.figure.dataset.link;
  const scope = chart.figure.closest(".charts");
  const linked = charts.filter((other) => link && other.figure.dataset.link === link && other.figure.closest(".charts") === scope);
  for (const other of linked.length ? linked : [chart]) {
    const [low, high] = other.data.x;
    other.zoomTo(range[0] <= low && range[1] >= high ? [low, high] : range);
  }
}

/* Albums: one picture of training at a time; those beside each other turn together. */

const albums = [...document.querySelectorAll("[data-album]")];

/** Show the picture at this share of training. */
function turn(album, share) {
  const figures = [...album.querySelectorAll(".pages figure")];
  const shown = Math.round(share * (figures.length - 1));
  figures.forEach((figure, k) => figure.classList.toggle("shown", k === shown));
  const range = album.querySelector("input");
  if (range) {
    range.value = shown;
    range.setAttribute("aria-valuetext", figures[shown].querySelector("figcaption").textContent);
  }
}

for (const album of albums) {
  const label = album.querySelector(".slider");
  if (label) {
    label.hidden = false;
    const range = label.querySelector("input");
    range.addEventListener("input", () => albums.forEach((other) => turn(other, range.value / range.max)));
  }
}

/* Films: chains over a density. */

for (const film of document.querySelectorAll("[data-film]")) {
  const data = JSON.parse(film.querySelector("script").textContent);
  const circles = [...film.querySelectorAll(".chains circle")];
  const range = film.querySelector("input");
  const output = film.querySelector("output");
  const button = film.querySelector("[data-play]");
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  let playing = 0;

  /** Put the chains where they are at a moment between two frames. */
  const draw = (moment) => {
    const k = Math.min(Math.floor(moment), data.frames.length - 1);
    const [here, next] = [data.frames[k], data.frames[Math.min(k + 1, data.frames.length - 1)]];
    const part = moment - k;
    circles.forEach((circle, i) => {
      circle.setAttribute("cx", here[2 * i] + part * (next[2 * i] - here[2 * i]));
      circle.setAttribute("cy", here[2 * i + 1] + part * (next[2 * i + 1] - here[2 * i + 1]));
    });
    range.value = k;
    output.textContent = written(data.steps[k]);
  };
  const stop = () => {
    cancelAnimationFrame(playing);
    playing = 0;
    button.textContent = "Play";
  };
  const play = (from) => {
    const began = performance.now();
    const tick = (now) => {
      const moment = from + Math.max(0, now - began) / 90;
      if (moment >= data.frames.length - 1) {
        draw(data.frames.length - 1);
        stop();
        return;
      }
      draw(calm ? Math.floor(moment) : moment);
      playing = requestAnimationFrame(tick);
    };
    button.textContent = "Pause";
    playing = requestAnimationFrame(tick);
  };
  film.querySelector(".controls").hidden = false;
  range.addEventListener("input", () => { stop(); draw(Number(range.value)); });
  button.addEventListener("click", () => {
    if (playing) stop();
    else play(Number(range.value) >= data.frames.length - 1 ? 0 : Number(range.value));
  });
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      window.getSelection().selectAllChildren(code);
    }
  });
}
