// What a model has learnt: its latents, the most used first, and the population of a patch that is chosen.

import { find, image, make, number, request, trying } from "./dom.js";

const TILE = 36, GAP = 2;
const MOST = 7; // pictures of a latent: its mean and its strongest directions
const FIRST = matchMedia("(max-width: 46rem)").matches ? 8 : 24; // how many are shown before all are asked for

export class Latents {
  constructor(place, job, viewer) {
    Object.assign(this, { job, viewer, place: find(".latents", place), patch: find(".patch", place) });
    this.address = `api/jobs/${job.id}`;
    this.shownFor = null;
    this.model = 0;
  }

  /** Show or hide them, for a frame and the page that it is of. */
  async show(visible, frame, page) {
    this.place.hidden = this.patch.hidden = !visible;
    this.viewer.picked = visible ? trying((row, column) => this.#choose(row, column)) : null;
    if (!visible) {
      this.viewer.cross = null;
      return;
    }
    this.frame = frame;
    const { picture, summary } = this.job;
    this.page = page;
    this.viewer.cross ??= { row: picture.height >> 1, column: picture.width >> 1 };
    const count = summary.models[this.page] ?? 0;
    if (!count) {
      this.place.replaceChildren(make("p", {}, "Nothing was learnt from this page."));
      return;
    }
    this.model = Math.min(this.model, count - 1);
    await this.#load(count);
  }

  async #load(count) {
    const key = `${this.page} ${this.model}`;
    if (this.shownFor === key) return;
    this.shownFor = key;
    this.viewer.box = null;
    const query = `page=${this.page}&model=${this.model}`;
    [this.about, this.sprite] = await Promise.all([
      request(`${this.address}/latents?${query}`),
      image(`${this.address}/latents.png?${query}`),
    ]);
    this.#draw(count);
    this.patch.replaceChildren();
  }

  #draw(count) {
    const { numbers, directions, height, width } = this.about;
    const heading = make("h2", {}, `${numbers.length} latents, the most used first`);
    const explained = directions > 1
      ? `What each adds to the mean of patches of ${width} × ${height} pixels, and its strongest directions.`
      : `What each adds to a patch of ${width} × ${height} pixels.`;
    const list = make("ol", { className: "latent-list" });
    list.append(...numbers.slice(0, FIRST).map((_, place) => this.#card(place)));
    const more = make("button", { type: "button", hidden: numbers.length <= FIRST }, `Show all ${numbers.length}`);
    more.addEventListener("click", () => {
      list.append(...numbers.slice(FIRST).map((_, place) => this.#card(FIRST + place)));
      more.remove();
    });
    this.place.replaceChildren(heading, ...this.#choice(count), make("p", { className: "soft" }, explained), list, more);
  }

  /** Which model, if there are several. */
  #choice(count) {
    if (count < 2) return [];
    const select = make("select", {});
    select.append(...Array.from({ length: count }, (_, model) => make("option", { value: model }, `${model + 1}`)));
    select.value = this.model;
    select.addEventListener("change", trying(async () => {
      this.model = Number(select.value);
      await this.#load(count);
      this.viewer.draw();
    }));
    return [make("label", { className: "line" }, "Model ", select)];
  }

  /** A latent by its place: its directions side by side, and how often it is on. */
  #card(place) {
    const cells = Array.from({ length: Math.min(this.about.directions, MOST) }, (_, column) => [column, place]);
    const canvas = drawn(this.sprite, this.about, cells, TILE, `What latent ${place + 1} adds`);
    const caption = make("span", {}, make("b", {}, `${place + 1}`), ` on in ${number(100 * this.about.use[place])} %`);
    const card = make("li", {}, canvas, caption);
    card.dataset.latent = place;
    return card;
  }

  async #choose(row, column) {
    const query = `row=${row}&column=${column}&frame=${this.frame}&model=${this.model}`;
    const found = await request(`${this.address}/population?${query}`);
    this.viewer.box = found;
    this.viewer.draw();
    const sprite = await image(found.sprite);
    const tile = (at, name) => Object.assign(drawn(sprite, found, [[at, 0]], 64, name), { className: "tile" });
    this.patch.replaceChildren(
      make("h2", {}, `Patch at row ${row}, column ${column}`),
      make("div", { className: "pair" },
        make("figure", {}, tile(0, "The patch as it came in"), make("figcaption", {}, "came in")),
        make("figure", {}, tile(1, "Its restoration"), make("figcaption", {}, "restored: the mean under q"))),
      this.#states(found, tile),
    );
    this.#mark(found.states[0].on);
  }

  /** The population: each state with its weight and the latents that are on. */
  #states(found, tile) {
    const list = make("ol", { className: "states" });
    found.states.forEach((state, at) => {
      const bar = make("meter", { min: 0, max: 1, value: state.q, ariaLabel: "q" });
      const numbers = state.on.map((place) => place + 1).join(", ");
      const names = numbers ? `latent${state.on.length > 1 ? "s" : ""} ${numbers}` : "no latent";
      list.append(make("li", {}, tile(at + 2, `What state ${at + 1} says`),
        make("span", {}, make("b", {}, `q = ${state.q.toFixed(3)}`), bar, names)));
    });
    return list;
  }

  #mark(on) {
    for (const card of this.place.querySelectorAll("[data-latent]")) {
      card.classList.toggle("on", on.includes(Number(card.dataset.latent)));
    }
  }
}

/** Cells (column, row) of a sprite side by side, each some size wide, as far as whole pixels allow. */
function drawn(sprite, { height, width }, cells, size, name) {
  const scale = Math.max(1, Math.round(size / width)), step = scale * width + GAP;
  const canvas = make("canvas", { width: cells.length * step - GAP, height: scale * height, role: "img", ariaLabel: name });
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  cells.forEach(([column, row], at) => context.drawImage(sprite, column * width, row * height, width, height,
    at * step, 0, scale * width, scale * height));
  return canvas;
}
