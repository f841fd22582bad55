// Choosing a picture, what is known of it, and what is to be done with it.

import { Brush, connect } from "./brush.js";
import { Contrast } from "./contrast.js";
import { all, describe, duration, find, image, make, number, post, request, say, trying } from "./dom.js";
import { Part } from "./part.js";

const POLL = 2000; // milliseconds between looks whether this machine has been measured
const ABOUT = { whole: "about", holes: "up to", applied: "about" }; // the more is missing, the longer it takes
const LONG = 120; // seconds after which people look for something faster

export class Start {
  constructor(terms) {
    this.terms = terms;
    this.picture = null;
    this.brush = new Brush(find("#holes"), find("#cursor"), () => this.#holesChanged());
    this.turn = connect(this.brush);
    this.contrast = new Contrast(find("#setup .contrast > div"), () => this.#showFrame());
    this.part = new Part(this);
    find("#most").textContent = `At most ${Math.floor(terms.upload_bytes / 2 ** 20)}\u00a0MiB.`;
    const take = trying((files) => this.take(files));
    find("#file").addEventListener("change", (event) => {
      const files = [...event.target.files];
      event.target.value = "";
      if (files.length) take(files);
    });
    document.addEventListener("paste", (event) => {
      const files = [...event.clipboardData.files];
      if (!files.length) return;
      if (!location.hash.startsWith("#new")) location.hash = "#new";
      take(files);
    });
    this.#acceptDrops(take);
    find("#form").addEventListener("submit", (event) => {
      event.preventDefault();
      trying(() => this.submit())();
    });
    find("#form").addEventListener("input", () => this.#showEstimate());
    find("#another").addEventListener("click", () => this.#show(null));
    for (const choice of [find("#frame"), find("#channels select")]) {
      choice.addEventListener("input", trying(() => this.#showFrame()));
    }
    find("[name=model]").addEventListener("input", () => this.#modelChanged());
    find("#setup .contrast").addEventListener("toggle", trying(() => this.#showHistogram()));
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
      const files = [...event.dataTransfer.files];
      if (!files.length) return;
      if (!location.hash.startsWith("#new")) location.hash = "#new";
      take(files);
    });
  }

  /** Send files, and show what the server says of the first: the others are to be restored as it is. */
  async take(files) {
    say();
    this.#show(null);
    const pictures = [];
    try {
      for (const [number, file] of files.entries()) {
        const which = files.length > 1 ? `picture ${number + 1} of ${files.length}` : "the picture";
        find("#reading").textContent = `Reading ${which} …`;
        pictures.push(await this.#send(file));
      }
    } finally {
      find("#reading").textContent = "";
    }
    await this.#show(...pictures);
  }

  async #send(file) {
    if (file.size > this.terms.upload_bytes) {
      throw new Error(`${file.name} has ${file.size.toLocaleString()} bytes, and at most ` +
        `${this.terms.upload_bytes.toLocaleString()} are taken; cut the picture, or use the command line`);
    }
    const headers = { "Content-Type": "application/octet-stream", "X-File-Name": encodeURIComponent(file.name) };
    return request("api/uploads", { method: "POST", headers, body: file });
  }

  /** Show a picture that was sent before. */
  async again(upload) {
    await this.#show(await request(`api/uploads/${upload}`));
  }

  /** Offer the models of a job first, for the pictures to come; none without a job. */
  apply(job) {
    this.taught = job;
    find("#to-apply").hidden = !job;
    find("#to-apply b").textContent = job ? title(job) : "";
    if (job) this.#show(null);
    else if (find("#setup").hidden === false && this.picture) this.#modelChanged();
  }

  /** Offer what other pictures like this one have taught. */
  async #offerModels(picture) {
    const offers = await Promise.all(
      [picture, ...this.others].map(({ id }) => request(`api/uploads/${id}/models`)));
    if (this.picture !== picture) return;
    const jobs = offers[0].filter(({ id }) => offers.every((offer) => offer.some((job) => job.id === id)));
    find("#models").hidden = !jobs.length;
    const taught = jobs.map((job) => make("option", { value: job.id }, `those of ${title(job)}, ready`));
    find("[name=model]").replaceChildren(make("option", { value: "" }, "to be trained on this picture"), ...taught);
    this.presets = Object.fromEntries(jobs.map((job) => [job.id, job.wish.preset]));
    if (this.taught && this.taught.id in this.presets) find("[name=model]").value = this.taught.id;
    else if (this.taught) {
      const other = `The models of ${title(this.taught)} are for pictures of other axes or channels.`;
      find("#notes").append(make("li", {}, other));
    }
    this.#modelChanged();
  }

  get #model() {
    return find("[name=model]").value || null;
  }

  #modelChanged() {
    const ready = this.#model !== null;
    find("#presets").disabled = find("#score").hidden = ready;
    find("#try").hidden = find("#try-help").hidden = this.part.outline.hidden = ready || !this.part.possible;
    find("#to-apply").hidden = true;
    this.#showEstimate();
  }

  async #show(picture, ...others) {
    this.picture = picture;
    this.others = others;
    this.turn(false);
    find("#drop").hidden = picture !== null;
    find("#example").hidden = picture !== null;
    find("#setup").hidden = picture === null;
    if (picture === null) return;
    find("#facts").parentElement.reset();
    const more = others.length ? [["And", `${others.length} more, with the same settings`]] : [];
    describe(find("#facts"), [...facts(picture), ...more]);
    find("#notes").replaceChildren(...picture.notes.map((note) => make("li", {}, note)));
    find("#paint").hidden = others.length > 0;
    find("#frames").hidden = picture.frames === 1;
    find("#frames").firstChild.data = `${frameName(picture)} `;
    Object.assign(find("#frame"), { max: picture.frames - 1, value: 0 });
    find("#stage").style.maxWidth = `calc(70vh * ${picture.width / picture.height})`; // no higher than the window
    offerChannels(find("#channels"), picture);
    this.contrast.reset(picture);
    this.brush.reset(picture.width, picture.height);
    this.part.reset();
    Object.assign(find("#brush-size"), { max: Math.ceil(picture.width / 4), value: this.brush.size });
    find("[name=sigma]").placeholder = `found (about ${number(picture.sigma)})`;
    await this.#offerModels(picture);
    await this.#showFrame();
    this.#poll(picture);
  }

  get frame() {
    return Number(find("#frame").value);
  }

  /** What of the picture is looked at: as requests have it. */
  get #query() {
    return `frame=${this.frame}${chosenChannel(find("#channels"))}`;
  }

  async #showFrame() {
    const { id, width, height, frames } = this.picture;
    find("#frame-number").textContent = `${this.frame + 1} of ${frames}`;
    const shown = await image(`api/uploads/${id}/preview.png?${this.#query}&${this.contrast.query}`);
    const canvas = Object.assign(find("#picture"), { width, height });
    canvas.getContext("2d").drawImage(shown, 0, 0);
    this.part.draw();
    await this.#showHistogram();
  }

  async #showHistogram() {
    if (!find("#setup .contrast").open || !this.picture) return;
    await this.contrast.load(`api/uploads/${this.picture.id}/histogram?${this.#query}`);
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
    find("#rest-line").hidden = !share;
    find("#painted").textContent = share ? `${number(100 * share)} % of the picture is painted over.` : "";
    this.#showEstimate();
  }

  #showEstimate() {
    if (!this.picture) return;
    const { seconds } = this.picture;
    const { preset, held_out: heldOut } = find("#form").elements;
    const model = this.#model;
    const training = heldOut.checked || this.brush.share() > this.terms.few ? "holes" : "whole";
    const kind = model ? "applied" : training;
    const most = this.terms.seconds;
    for (const place of all("[data-preset]")) {
      const needed = seconds?.[place.dataset.preset][training] ?? 0;
      const button = find(`[name=preset][value=${place.dataset.preset}]`);
      button.disabled = needed > most; // it would be stopped before its end
      place.textContent = seconds ? `${ABOUT[training]} ${duration(needed)}` : "";
      if (button.disabled) place.textContent += `, more than the ${duration(most)} there are`;
      if (button.disabled && button.checked) find("[name=preset][value=fast]").checked = true;
    }
    const chosen = model ? this.presets[model] : preset.value;
    const quickest = model ? chosen : "fast";
    find("#start").disabled = (seconds?.[quickest][kind] ?? 0) > most;
    find("#estimate").textContent = this.#estimate(seconds, chosen, kind, quickest);
  }

  #estimate(seconds, preset, kind, quickest) {
    if (!seconds) return "How fast this machine is, is being measured …";
    const [needed, least] = [seconds[preset][kind], seconds[quickest][kind]];
    if (least > this.terms.seconds) {
      return `It would take ${ABOUT[kind]} ${duration(least)}, more than the ${duration(this.terms.seconds)} that ` +
        "this server gives to a picture. Restore a part of it, use the command line, or start the server with a larger " +
        "--max-seconds.";
    }
    const hint = preset !== quickest && needed > LONG ? ` “Fast” would take ${ABOUT[kind]} ${duration(least)}.` : "";
    return `Will take ${ABOUT[kind]} ${duration(needed)} on this machine${this.others.length ? ", each" : ""}.${hint}`;
  }

  /** What the form asks for, with the mask, if there is one, sent. */
  async wish() {
    const { preset, sigma, seed, noise, held_out: heldOut } = find("#form").elements;
    const mask = this.brush.isEmpty
      ? null
      : (await request("api/uploads", { method: "POST", body: await this.brush.file() })).id;
    return {
      upload: this.picture.id,
      mask,
      model: this.#model,
      preset: preset.value,
      sigma: sigma.value === "" ? null : Number(sigma.value),
      seed: Number(seed.value),
      noise: noise.value,
      strength: this.brush.isEmpty || find("#rest").checked ? 1 : 0,
      held_out: heldOut.checked && !this.#model ? 0.02 : 0,
    };
  }

  /** Queue what the form asks for, and go there. */
  async submit() {
    find("#start").disabled = true;
    try {
      const wish = await this.wish();
      const job = await post("api/jobs", wish);
      for (const other of this.others) await post("api/jobs", { ...wish, upload: other.id });
      location.hash = this.others.length ? "#jobs" : `#job/${job.id}`;
    } finally {
      find("#start").disabled = false;
    }
  }
}

/** Offer the channels of a picture, to be looked at alone. */
export function offerChannels(label, { channels, axes }) {
  label.hidden = channels === 1;
  const colours = axes.includes("S") && channels === 3 ? ["Red", "Green", "Blue"] : [];
  const names = Array.from({ length: channels }, (_, channel) => colours[channel] ?? `${channel + 1}`);
  const together = channels > 3 ? "The first three" : "All";
  find("select", label).replaceChildren(
    make("option", { value: "" }, together), ...names.map((name, channel) => make("option", { value: channel }, name)));
}

/** The channel that was chosen, as requests have it. */
export function chosenChannel(label) {
  const { value } = find("select", label);
  return value === "" ? "" : `&channel=${value}`;
}

/** How people call a job. */
export const title = ({ created, picture }) => picture.name || new Date(1000 * created).toLocaleString();

/** What is looked at one by one. */
export const frameName = ({ pages, axes }) => (pages > 1 ? "Page" : axes.includes("T") && !axes.includes("Z") ? "Frame" : "Plane");

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
