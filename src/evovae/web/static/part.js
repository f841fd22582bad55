// A part of the picture, restored before the whole: where it is, and what becomes of it.

import { ARROWS, duration, find, image, make, number, pixel, post, request, trying } from "./dom.js";

const WIDTH = 128, POLL = 400; // pixels, and milliseconds between looks at the job
const STEP = 16; // pixels that an arrow key moves it

export class Part {
  /** start is the view around it: its picture, its brush, what is wished for, and how it is drawn. */
  constructor(start) {
    this.start = start;
    this.outline = find("#part");
    const canvas = find("#holes");
    canvas.addEventListener("click", (event) => {
      if (start.brush.on || !this.possible) return;
      const { x, y } = pixel(event, canvas);
      this.#move(y, x);
    });
    canvas.addEventListener("keydown", (event) => {
      if (start.brush.on || !this.possible || !(event.key in ARROWS)) return;
      event.preventDefault();
      const [across, down] = ARROWS[event.key];
      this.#move(this.row + STEP * down, this.column + STEP * across);
    });
    find("#try").addEventListener("click", trying(() => this.try()));
    find("#part-before").addEventListener("click", trying(() => this.#turn()));
    new ResizeObserver(() => this.#place()).observe(canvas);
  }

  /** Whether the picture is so large that a part of it says something sooner. */
  get possible() {
    const { picture } = this.start;
    return picture !== null && Math.min(picture.width, picture.height) >= WIDTH && picture.width * picture.height > 2 * WIDTH ** 2;
  }

  /** Begin with a picture: its middle. */
  reset() {
    this.tried = null;
    find("#tried").replaceChildren();
    find("#part-before").hidden = true;
    for (const there of [find("#try"), find("#try-help"), this.outline]) there.hidden = !this.possible;
    if (this.possible) this.#move(this.start.picture.height / 2, this.start.picture.width / 2);
  }

  #move(row, column) {
    const { width, height } = this.start.picture;
    const within = (middle, most) => Math.round(Math.min(Math.max(middle, WIDTH / 2), most - WIDTH / 2));
    Object.assign(this, { row: within(row, height), column: within(column, width) });
    this.#place();
  }

  #place() {
    if (!this.possible) return;
    const canvas = find("#holes");
    const scale = canvas.clientWidth / canvas.width;
    const place = { left: this.column - WIDTH / 2, top: this.row - WIDTH / 2, width: WIDTH, height: WIDTH };
    for (const [name, value] of Object.entries(place)) this.outline.style[name] = `${value * scale}px`;
  }

  /** Restore it, and draw it into the picture. */
  async try() {
    const { picture } = this.start;
    const where = { row: this.row, column: this.column, frame: this.start.look.frame };
    find("#try").disabled = true;
    try {
      this.#say("Sending …");
      const wish = await this.start.wish();
      const cut = (upload, place) => post(`api/uploads/${upload}/parts`, place);
      const part = await cut(picture.id, where);
      const mask = wish.mask ? (await cut(wish.mask, { ...where, frame: 0 })).id : null;
      const { id } = await post("api/jobs", { ...wish, upload: part.id, mask });
      const job = await this.#ended(id);
      if (this.start.picture !== picture) return;
      if (!job.summary) throw new Error(job.message || "the part could not be restored");
      const view = (name) => image(`api/jobs/${id}/view/${name}.png?${this.start.look.levels}`);
      this.tried = { part, frame: where.frame, before: await view("before"), after: await view("after"), shown: "after" };
      await request(`api/jobs/${id}`, { method: "DELETE" }); // it was but a look
      const { summary } = job;
      this.#say(`This part took ${duration(summary.seconds)}. Noise level found in it: ${number(summary.sigma[0])}.`);
      find("#part-before").hidden = false;
      this.draw();
    } catch (error) {
      this.#say("");
      throw error;
    } finally {
      find("#try").disabled = false;
    }
  }

  async #ended(id) {
    for (;;) {
      const job = await request(`api/jobs/${id}`);
      if (!["queued", "running"].includes(job.state)) return job;
      this.#say(job.ahead ? `Waiting for ${job.ahead} before it …` : "Working on the part in the dashed square …");
      await new Promise((wake) => setTimeout(wake, POLL));
    }
  }

  #say(sentence) {
    find("#tried").replaceChildren(...(sentence ? [make("span", {}, sentence)] : []));
  }

  #turn() {
    this.tried.shown = this.tried.shown === "after" ? "before" : "after";
    this.draw();
  }

  /** Over the frame that it is of. */
  draw() {
    if (this.tried?.frame !== this.start.look.frame) return;
    const { part, shown } = this.tried;
    find("#picture").getContext("2d").drawImage(this.tried[shown], part.left, part.top);
    find("#part-before").textContent = shown === "after" ? "Show the part as it was" : "Show the part restored";
  }
}
