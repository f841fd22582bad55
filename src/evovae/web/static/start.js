// Choosing a picture, what is known of it, and what is to be done with it.

import { Brush, connect } from "./brush.js";
import { all, describe, duration, find, image, make, number, post, request, say, trying } from "./dom.js";

const POLL = 2000; // milliseconds between looks whether this machine has been measured

export class Start {
  constructor(terms) {
    this.terms = terms;
    this.picture = null;
    this.brush = new Brush(find("#holes"), find("#cursor"), () => this.#holesChanged());
    connect(this.brush);
    find("#most").textContent = `At most ${Math.floor(terms.upload_bytes / 2 ** 20)}\u00a0MiB.`;
    const take = trying((file) => this.take(file));
    find("#file").addEventListener("change", (event) => {
      if (event.target.files.length) take(event.target.files[0]);
      event.target.value = "";
    });
    this.#acceptDrops(take);
    find("#form").addEventListener("submit", (event) => {
      event.preventDefault();
      trying(() => this.submit())();
    });
    find("#form").addEventListener("input", () => {
      this.#showEstimate();
      this.#showStrength();
    });
    find("#another").addEventListener("click", () => this.#show(null));
    find("#frame").addEventListener("input", trying(() => this.#showFrame()));
  }

  #acceptDrops(take) {
    const drop = find("#drop");
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
    document.addEventListener("dragleave", () => drop.classList.remove("over"));
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      const [file] = event.dataTransfer.files;
      if (!file) return;
      location.hash = "#new";
      take(file);
    });
  }

  /** Send a file, and show what the server says of it. */
  async take(file) {
    say();
    this.#show(null);
    if (file.size > this.terms.upload_bytes) {
      throw new Error(`the file has ${file.size.toLocaleString()} bytes, and at most ` +
        `${this.terms.upload_bytes.toLocaleString()} are taken; cut the picture, or use the command line`);
    }
    find("#reading").textContent = "Reading the picture …";
    try {
      const headers = { "Content-Type": "application/octet-stream" };
      await this.#show(await request("api/uploads", { method: "POST", headers, body: file }));
    } finally {
      find("#reading").textContent = "";
    }
  }

  async #show(picture) {
    this.picture = picture;
    find("#drop").hidden = picture !== null;
    find("#setup").hidden = picture === null;
    if (picture === null) return;
    find("#facts").parentElement.reset();
    this.#showStrength();
    describe(find("#facts"), facts(picture));
    find("#notes").replaceChildren(...picture.notes.map((note) => make("li", {}, note)));
    find("#frames").hidden = picture.frames === 1;
    Object.assign(find("#frame"), { max: picture.frames - 1, value: 0 });
    find("#stage").style.maxWidth = `calc(70vh * ${picture.width / picture.height})`; // no higher than the window
    this.brush.reset(picture.width, picture.height);
    Object.assign(find("#brush-size"), { max: Math.ceil(picture.width / 4), value: this.brush.size });
    find("[name=sigma]").placeholder = `found (about ${number(picture.sigma)})`;
    await this.#showFrame();
    this.#poll(picture);
  }

  async #showFrame() {
    const { id, width, height, frames } = this.picture;
    const frame = Number(find("#frame").value);
    find("#frame-number").textContent = `${frame + 1} of ${frames}`;
    const canvas = Object.assign(find("#picture"), { width, height });
    canvas.getContext("2d").drawImage(await image(`api/uploads/${id}/preview.png?frame=${frame}`), 0, 0);
  }

  /** Ask for estimates until there are some. */
  async #poll(picture) {
    while (this.picture === picture && picture.seconds === null) {
      picture.seconds = (await request(`api/uploads/${picture.id}`).catch(() => picture)).seconds;
      this.#showEstimate();
      if (picture.seconds === null) await new Promise((wake) => setTimeout(wake, POLL));
    }
  }

  #holesChanged() {
    const share = this.brush.share();
    find("#painted").textContent = share ? `${number(100 * share)} % of the picture is painted over.` : "";
    this.#showEstimate();
  }

  #showEstimate() {
    if (!this.picture) return;
    const { seconds } = this.picture;
    const { preset, held_out: heldOut } = find("#form").elements;
    const kind = heldOut.checked || !this.brush.isEmpty ? "holes" : "whole";
    for (const place of all("[data-preset]")) {
      place.textContent = seconds ? `about ${duration(seconds[place.dataset.preset][kind])}` : "";
    }
    find("#estimate").textContent = seconds
      ? `Will take about ${duration(seconds[preset.value][kind])} on this machine.`
      : "How fast this machine is, is being measured …";
  }

  #showStrength() {
    find("#strength-shown").textContent = `${find("[name=strength]").value} %`;
  }

  /** Queue what the form asks for, and go there. */
  async submit() {
    const { preset, sigma, seed, noise, strength, held_out: heldOut } = find("#form").elements;
    const wish = {
      upload: this.picture.id,
      preset: preset.value,
      sigma: sigma.value === "" ? null : Number(sigma.value),
      seed: Number(seed.value),
      noise: noise.value,
      strength: Number(strength.value) / 100,
      held_out: heldOut.checked ? 0.02 : 0,
    };
    find("#start").disabled = true;
    try {
      if (!this.brush.isEmpty) {
        const mask = await request("api/uploads", { method: "POST", body: await this.brush.file() });
        wish.mask = mask.id;
      }
      const job = await post("api/jobs", wish);
      location.hash = `#job/${job.id}`;
    } finally {
      find("#start").disabled = false;
    }
  }
}

/** What there is to say of a picture. */
export function facts(picture) {
  const channels = picture.channels > 1 ? `, ${picture.channels} channels` : "";
  const frames = picture.frames > 1 ? `, ${picture.frames} ${picture.pages > 1 ? "pages" : "planes"}` : "";
  return [
    ["Size", `${picture.width} × ${picture.height}${channels}${frames}`],
    ["Kind", `${picture.format}, ${picture.dtype}`],
    ["Noise level", `about ${number(picture.sigma)}`],
  ];
}
