// Plots: of the bound while models learn, and of what the noise of a page is like, with a choice to say otherwise.

import { find, make, number, post, request, trying } from "./dom.js";

const XML = "http://www.w3.org/2000/svg";

function draw(within, kind, attributes) {
  const element = document.createElementNS(XML, kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  within.append(element);
  return element;
}

const drawing = (width, height, label) =>
  draw(make("div"), "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });

const line = (within, kind, points) =>
  draw(within, "polyline", { class: kind, points: points.map((at) => at.map((value) => value.toFixed(1)).join(",")).join(" ") });

/** The bound, epoch by epoch: models have scales of their own, so each is drawn in a field of its own. */
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
    if (elbo === null || this.points.at(-1)?.epoch === epoch) return; // a tile more, but no epoch
    this.points.push({ model, epoch, elbo });
    this.#draw(epochs);
    this.caption.textContent = `How well the picture is explained, the higher the better (bound, ELBO): ${number(elbo)}.`;
  }

  #draw(epochs) {
    const { width, height } = this.svg.viewBox.baseVal, edge = 6;
    const x = (epoch) => edge + ((width - 2 * edge) * (epoch - 0.5)) / Math.max(epochs, 1);
    this.svg.replaceChildren();
    for (const [model, points] of Map.groupBy(this.points, (point) => point.model)) {
      const bounds = points.map((point) => point.elbo);
      const low = Math.min(...bounds), high = Math.max(...bounds);
      const y = (elbo) => height - edge - (height - 2 * edge) * (high === low ? 0.5 : (elbo - low) / (high - low));
      const begin = x(points[0].epoch - 0.5);
      if (model > 0) line(this.svg, "edge", [[begin, 0], [begin, height]]);
      line(this.svg, "bound", points.map((point) => [x(point.epoch), y(point.elbo)]));
      draw(this.svg, "circle", { class: "bound", cx: x(points.at(-1).epoch), cy: y(points.at(-1).elbo), r: 3 });
    }
  }
}

const WIDTH = 300, HEIGHT = 170, LEFT = 46, BOTTOM = 34, EDGE = 10;

/** Two plots of the noise of a page, against the signal and between neighbours. */
export class Noise {
  constructor(place, job, unit) {
    Object.assign(this, { place, job, unit, shown: null });
    place.addEventListener("toggle", trying(() => this.show(this.page)));
    find("select", place).append(...find("[name=noise]").cloneNode(true).options); // which may be said before, too
    find("select", place).value = job.wish.noise;
    find(".overrule", place).addEventListener("click", trying(async () => {
      const { id } = await post("api/jobs", { ...job.wish, noise: find("select", place).value });
      location.hash = `#job/${id}`;
    }));
  }

  /** Of a page; asked for when someone looks. */
  async show(page) {
    this.page = page;
    if (!this.place.open || this.shown === page) return;
    this.shown = page;
    const plots = await request(`api/jobs/${this.job.id}/noise?page=${page}`).catch(() => null);
    const places = find(".plots", this.place);
    if (!plots?.signal.length) places.replaceChildren(make("p", { className: "soft" }, "There is nothing to plot of this page."));
    else places.replaceChildren(this.#againstSignal(plots), this.#correlation(plots));
  }

  #againstSignal({ signal, found, removed }) {
    const svg = drawing(WIDTH, HEIGHT, "Standard deviation of the noise against the signal");
    const low = Math.min(...signal), high = Math.max(...signal), most = 1.15 * Math.max(...found, ...removed) || 1;
    const x = (value) => LEFT + ((WIDTH - LEFT - EDGE) * (value - low)) / (high - low || 1);
    const y = (value) => HEIGHT - BOTTOM - ((HEIGHT - BOTTOM - EDGE) * value) / most;
    draw(svg, "path", { class: "axes", d: `M${LEFT} ${EDGE}V${HEIGHT - BOTTOM}H${WIDTH - EDGE}` });
    const text = (at, down, said, anchor) => (draw(svg, "text", { x: at, y: down, "text-anchor": anchor }).textContent = said);
    text(LEFT, HEIGHT - BOTTOM + 15, number(low), "middle");
    text(WIDTH - EDGE, HEIGHT - BOTTOM + 15, number(high), "end");
    text((LEFT + WIDTH) / 2, HEIGHT - 4, `signal / ${this.unit}`, "middle");
    text(LEFT - 5, HEIGHT - BOTTOM, "0", "end");
    text(LEFT - 5, y(most) + 9, number(most), "end");
    line(svg, "bound", found.map((value, at) => [x(signal[at]), y(value)]));
    removed.forEach((value, at) => draw(svg, "circle", { class: "measured", cx: x(signal[at]), cy: y(value), r: 3.5 }));
    return make("figure", {}, svg, make("figcaption", { className: "soft small" },
      "Standard deviation of the noise, by how bright the picture is: line as found, dots what was removed. " +
      "Dots below the line: some of the noise is still there; above: some of the picture went with it."));
  }

  #correlation({ correlation }) {
    const count = correlation.length, cell = 22, middle = count >> 1;
    const svg = drawing(count * cell, count * cell, "How much neighbours share of what was removed");
    correlation.forEach((row, down) => row.forEach((share, across) => {
      const kind = share < 0 ? "less" : "more";
      const square = draw(svg, "rect", { class: kind, x: across * cell, y: down * cell, width: cell - 1, height: cell - 1 });
      square.style.opacity = Math.min(Math.abs(share), 1);
      draw(square, "title", {}).textContent =
        `${down - middle} down, ${across - middle} across: ${(100 * share).toFixed(0)} %`;
    }));
    const [right, below] = [correlation[middle][middle + 1], correlation[middle + 1][middle]];
    return make("figure", { className: "correlation" }, svg, make("figcaption", { className: "soft small" },
      "How much neighbours share of what was removed; the pixel itself is in the middle. " +
      `Right neighbours ${(100 * right).toFixed(0)} %, those below ${(100 * below).toFixed(0)} %: ` +
      `${Math.max(Math.abs(right), Math.abs(below)) < 0.1 ? "next to none" : "correlated"}.`));
  }
}
