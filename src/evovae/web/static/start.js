// Choosing a picture, what is known of it, and what is to be done with it.

import { Brush, connect } from "./brush.js";
import { describe, find, image, make, number, post, request, say, trying } from "./dom.js";
import { facts, Look, title } from "./look.js";
import { Part } from "./part.js";

export class Start {
  constructor(terms) {
    this.terms = terms;
    this.picture = null;
    this.brush = new Brush(find("#holes"), find("#cursor"), () => this.#holesChanged());
    this.turn = connect(this.brush);
    this.look = new Look(find("#setup"), () => this.#showFrame());
    this.part = new Part(this);
    find("#most").textContent = `At most ${Math.floor(terms.upload_bytes / 2 ** 20)}\u00a0MiB.`;
    find("#file").addEventListener("change", (event) => {
      this.#take([...event.target.files]);
      event.target.value = "";
    });
    document.addEventListener("paste", (event) => this.#take([...event.clipboardData.files]));
    for (const kind of ["dragover", "dragleave", "drop"]) {
      document.addEventListener(kind, (event) => {
        event.preventDefault();
        find("#drop").classList.toggle("over", kind === "dragover");
        if (kind === "drop") this.#take([...event.dataTransfer.files]);
      });
    }
    find("#form").addEventListener("submit", trying((event) => {
      event.preventDefault();
      return this.submit();
    }));
    find("#another").addEventListener("click", () => this.#show(null));
    find("[name=model]").addEventListener("input", () => this.#modelChanged());
  }

  /** Send files, and show what the server says of the first: the others are to be restored as it is. */
  #take = trying(async (files) => {
    if (!files.length) return;
    if (find("#new").hidden) location.hash = "#new";
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
  });

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
    if (jobs.some(({ id }) => id === this.taught?.id)) find("[name=model]").value = this.taught.id;
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
    find("#stage").style.maxWidth = `calc(70vh * ${picture.width / picture.height})`; // no higher than the window
    this.look.reset(picture, `api/uploads/${picture.id}`);
    this.brush.reset(picture.width, picture.height);
    this.part.reset();
    Object.assign(find("#brush-size"), { max: Math.ceil(picture.width / 4), value: this.brush.size });
    find("[name=sigma]").placeholder = `found (about ${number(picture.sigma)})`;
    await this.#offerModels(picture);
    await this.#showFrame();
  }

  async #showFrame() {
    if (!this.picture) return;
    const { id, width, height } = this.picture;
    const shown = await image(`api/uploads/${id}/preview.png?${this.look.query}&${this.look.levels}`);
    const canvas = Object.assign(find("#picture"), { width, height });
    canvas.getContext("2d").drawImage(shown, 0, 0);
    this.part.draw();
    await this.look.follow();
  }

  #holesChanged() {
    const share = this.brush.share();
    find("#rest-line").hidden = !share;
    find("#painted").textContent = share ? `${number(100 * share)} % of the picture is painted over.` : "";
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
