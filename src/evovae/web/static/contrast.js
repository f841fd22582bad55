// What is shown black and white: chosen on a histogram, in the units of the picture.

import { find, number, request, trying } from "./dom.js";

const STEPS = 1000, WAIT = 120; // milliseconds until a slider that moves is followed

export class Contrast {
  /** In a place made of the contrast template; changed() is called when `window` is another one. */
  constructor(place, changed) {
    Object.assign(this, { place, changed, range: null, window: {}, auto: {} });
    place.replaceChildren(find("#contrast-template").content.cloneNode(true));
    for (const end of ["low", "high"]) {
      find(`.${end}`, place).addEventListener("input", () => this.#follow(end));
    }
    find(".auto", place).addEventListener("click", () => this.#set(this.auto));
    find(".full", place).addEventListener("click", () => this.#set(this.range));
  }

  /** As a picture has it, until something else is chosen. */
  reset({ low, high }) {
    this.auto = { low, high };
    this.window = { low, high };
  }

  /** Of what is in sight: as a request has it. */
  get query() {
    return `low=${this.window.low}&high=${this.window.high}`;
  }

  /** Draw a histogram, which the server gives at an address. */
  async load(address) {
    if (address === this.loaded) return; // it does not depend on the window
    const { low, high, counts } = await request(address);
    this.range = { low, high };
    const most = Math.max(...counts, 1);
    const bar = (count, at) => `M${at} 40V${(40 - 38 * Math.sqrt(count / most)).toFixed(1)}h1V40`; // rare ones are seen
    find("path", this.place).setAttribute("d", counts.map(bar).join(""));
    find("svg", this.place).setAttribute("viewBox", `0 0 ${counts.length} 40`);
    this.loaded = address;
    this.#show();
  }

  #follow(end) {
    const { low, high } = this.range;
    const value = low + ((high - low) * find(`.${end}`, this.place).value) / STEPS;
    const next = { ...this.window, [end]: value };
    if (next.low >= next.high) next[end === "low" ? "high" : "low"] = value; // it is pushed along
    this.#set(next, WAIT);
  }

  #set(window, wait = 0) {
    this.window = window;
    this.#show();
    clearTimeout(this.timer);
    this.timer = setTimeout(trying(() => this.changed()), wait);
  }

  #show() {
    const { low, high } = this.range;
    for (const end of ["low", "high"]) {
      const share = (this.window[end] - low) / (high - low);
      find(`.${end}`, this.place).value = Math.round(STEPS * share);
      find(`output.${end}-shown`, this.place).textContent = number(this.window[end]);
    }
  }
}
