// What of a picture is looked at: which frame, which channel, what is black and white; and what there is to say of it.

import { find, make, number, request, trying } from "./dom.js";

const STEPS = 1000, WAIT = 120; // milliseconds until a slider that moves is followed

export class Look {
  /** In a place with controls for all of it; changed() is called when something else is to be looked at. */
  constructor(place, changed) {
    Object.assign(this, { place, changed: trying(changed), contrast: find(".contrast", place) });
    find("div", this.contrast).replaceChildren(find("#contrast-template").content.cloneNode(true));
    for (const end of ["low", "high"]) {
      find(`.${end}`, this.contrast).addEventListener("input", () => this.#follow(end));
    }
    find(".auto", this.contrast).addEventListener("click", () => this.#set(this.auto));
    find(".full", this.contrast).addEventListener("click", () => this.#set(this.range));
    for (const choice of [".frames input", ".channels select"]) {
      find(choice, place).addEventListener("input", () => this.changed());
    }
    this.contrast.addEventListener("toggle", trying(() => this.follow()));
  }

  /** Begin with a picture, whose histograms are at an address. */
  reset(picture, address) {
    const { low, high, frames, channels, axes } = picture;
    Object.assign(this, { frames, address, auto: { low, high }, window: { low, high }, range: null, loaded: null });
    find(".frames", this.place).hidden = frames === 1;
    find(".frames", this.place).firstChild.data = `${frameName(picture)} `;
    Object.assign(find(".frames input", this.place), { max: frames - 1, value: 0 });
    find(".channels", this.place).hidden = channels === 1;
    const colours = axes.includes("S") && channels === 3 ? ["Red", "Green", "Blue"] : [];
    const names = Array.from({ length: channels }, (_, channel) => colours[channel] ?? `${channel + 1}`);
    find(".channels select", this.place).replaceChildren(
      make("option", { value: "" }, channels > 3 ? "The first three" : "All"),
      ...names.map((name, channel) => make("option", { value: channel }, name)));
  }

  get frame() {
    return Number(find(".frames input", this.place).value);
  }

  /** What is in sight: as requests have it. */
  get query() {
    const { value } = find(".channels select", this.place);
    return `frame=${this.frame}${value === "" ? "" : `&channel=${value}`}`;
  }

  /** What is black and white: as requests have it. */
  get levels() {
    return `low=${this.window.low}&high=${this.window.high}`;
  }

  /** Say which frame is in sight, and draw its histogram if someone looks at that. */
  async follow() {
    find(".frames output", this.place).textContent = `${this.frame + 1} of ${this.frames}`;
    const address = `${this.address}/histogram?${this.query}`;
    if (!this.contrast.open || address === this.loaded) return; // it does not depend on the levels
    const { low, high, counts } = await request(address);
    this.range = { low, high };
    const most = Math.max(...counts, 1);
    const bar = (count, at) => `M${at} 40V${(40 - 38 * Math.sqrt(count / most)).toFixed(1)}h1V40`; // rare ones are seen
    find("path", this.contrast).setAttribute("d", counts.map(bar).join(""));
    find("svg", this.contrast).setAttribute("viewBox", `0 0 ${counts.length} 40`);
    this.loaded = address;
    this.#show();
  }

  #follow(end) {
    const { low, high } = this.range;
    const value = low + ((high - low) * find(`.${end}`, this.contrast).value) / STEPS;
    const next = { ...this.window, [end]: value };
    if (next.low >= next.high) next[end === "low" ? "high" : "low"] = value; // it is pushed along
    this.#set(next, WAIT);
  }

  #set(window, wait = 0) {
    this.window = window;
    this.#show();
    clearTimeout(this.timer);
    this.timer = setTimeout(this.changed, wait);
  }

  #show() {
    const { low, high } = this.range;
    for (const end of ["low", "high"]) {
      const share = (this.window[end] - low) / (high - low);
      find(`.${end}`, this.contrast).value = Math.round(STEPS * share);
      find(`output.${end}-shown`, this.contrast).textContent = number(this.window[end]);
    }
  }
}

/** How people call a job. */
export const title = ({ created, picture }) => picture.name || new Date(1000 * created).toLocaleString();

/** What is looked at one by one. */
const frameName = ({ pages, axes }) => (pages > 1 ? "Page" : axes.includes("T") && !axes.includes("Z") ? "Frame" : "Plane");

/** What numbers of a picture are in. */
export const unit = ({ dtype }) => (/^u?int/.test(dtype) ? "grey levels" : "units of the file");

/** What there is to say of a picture. */
export function facts(picture) {
  const channels = picture.channels > 1 ? `, ${picture.channels} channels` : "";
  const frames = picture.frames > 1 ? `, ${picture.frames} ${frameName(picture).toLowerCase()}s` : "";
  return [
    ...(picture.name ? [["File", picture.name]] : []),
    ["Size", `${picture.width} × ${picture.height}${channels}${frames}`],
    ["Kind", `${picture.format}, ${picture.dtype}`],
    ["Noise level", `about ${number(picture.sigma)}`],
  ];
}
