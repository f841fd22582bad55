// The bound, epoch by epoch: models have scales of their own, so each is drawn in a field of its own.

import { find, number } from "./dom.js";

const WIDTH = 320, HEIGHT = 140, EDGE = 6;
const XML = "http://www.w3.org/2000/svg";

export class Curve {
  constructor(svg, caption) {
    Object.assign(this, { svg, caption, points: [], page: 0 });
  }

  clear() {
    this.points = [];
    this.svg.replaceChildren();
    this.caption.textContent = "";
  }

  /** One more epoch. */
  add({ page, model, epoch, epochs, elbo }) {
    if (page !== this.page) this.points = [];
    this.page = page;
    const last = this.points.at(-1);
    if (elbo === null || (last && last.epoch === epoch)) return; // a tile more, but no epoch
    this.points.push({ model, epoch, elbo });
    this.#draw(epochs);
    this.caption.textContent = `How well the picture is explained, the higher the better (bound, ELBO): ${number(elbo)}.`;
  }

  #draw(epochs) {
    const x = (epoch) => EDGE + ((WIDTH - 2 * EDGE) * (epoch - 0.5)) / Math.max(epochs, 1);
    const models = Map.groupBy(this.points, (point) => point.model);
    this.svg.replaceChildren();
    for (const [model, points] of models) {
      const heights = points.map((point) => point.elbo);
      const low = Math.min(...heights), high = Math.max(...heights), span = high - low || 1;
      const y = (elbo) => HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * (high === low ? 0.5 : (elbo - low) / span);
      if (model > 0) this.#line("edge", [[x(points[0].epoch - 0.5), 0], [x(points[0].epoch - 0.5), HEIGHT]]);
      this.#line("bound", points.map((point) => [x(point.epoch), y(point.elbo)]));
      this.#dot(x(points.at(-1).epoch), y(points.at(-1).elbo));
    }
  }

  #line(kind, points) {
    const line = document.createElementNS(XML, "polyline");
    line.setAttribute("class", kind);
    line.setAttribute("points", points.map((point) => point.map((value) => value.toFixed(1)).join(",")).join(" "));
    this.svg.append(line);
  }

  #dot(x, y) {
    const dot = document.createElementNS(XML, "circle");
    for (const [name, value] of Object.entries({ class: "bound", cx: x, cy: y, r: 3 })) dot.setAttribute(name, value);
    this.svg.append(dot);
  }
}

export const theCurve = () => new Curve(find("#curve"), find("#curve-caption"));
