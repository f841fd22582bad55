// What became of a job: the picture beside what it was, what was found, and files to take away.

import { all, describe, duration, find, image, make, mean, number, trying } from "./dom.js";
import { Latents } from "./latents.js";
import { facts } from "./start.js";
import { Viewer } from "./viewer.js";

const HELP = "Wheel or + and − zoom, dragging or arrows pan, 0 fits. ";

export class Result {
  constructor(place, job) {
    this.job = job;
    this.address = `api/jobs/${job.id}`;
    place.replaceChildren(find("#result-template").content.cloneNode(true));
    this.place = place;
    this.viewer = new Viewer(find(".viewer canvas", place), { changed: () => this.#followViewer() });
    this.latents = new Latents(place, job, this.viewer);
    this.view = "compare";
    this.#fillIn();
    this.#connect();
    this.showFrame = trying(() => this.#show());
    this.showFrame();
  }

  get frame() {
    return Number(find(".frame", this.place).value);
  }

  /** Whether some pages were not restored; earlier versions did not tell. */
  get partial() {
    const { summary, picture } = this.job;
    return (summary.restored ?? picture.pages) < picture.pages;
  }

  #fillIn() {
    const { job, place } = this;
    const { summary, picture } = job;
    find(".command", place).textContent = summary.command;
    find(".exact", place).textContent = summary.exact
      ? "It gives the same bytes on this machine. The first file is the picture as you sent it" +
        (job.wish.mask ? "; the mask is among the files above." : ".")
      : "The work was stopped early, which the command does not know of: it will go on to the end.";
    find(".downloads", place).append(...this.#downloads());
    find(".frames", place).hidden = picture.frames === 1;
    Object.assign(find(".frame", place), { max: picture.frames - 1 });
    find("[data-view=latents]", place).hidden = !summary.models.some((count) => count > 0);
  }

  /** What there is to say: of all pages, but of noise what that of the page shown is like. */
  #found() {
    const { summary, picture } = this.job;
    const page = Math.floor((this.frame * picture.pages) / picture.frames);
    const level = mean(summary.sigma), hidden = mean(summary.held_out);
    const found = [["Noise level found", number(level)], ["Noise", summary.noise[page] ?? "–"]];
    if (hidden !== null) found.push(["Hidden pixels are off by", number(hidden)], ["so that the error is", error(hidden, level)]);
    if (summary.quality) {
      const { before, after } = summary.quality;
      found.push(["PSNR", `${before.toFixed(2)} → ${after.toFixed(2)} dB`]);
    }
    if (this.partial) {
      found.unshift(["Pages", `${summary.restored} of ${picture.pages} restored; the others are as they came`]);
    }
    return [...found, ["Took", duration(summary.seconds)], ...facts(picture).filter(([term]) => term !== "Noise level")];
  }

  #downloads() {
    const { picture, wish } = this.job;
    const link = (path, text, kind = "button") =>
      make("a", { href: `${this.address}/${path}`, download: "", className: kind }, text);
    return [
      link("result", `Download the picture (${picture.format}, ${picture.dtype})`, "button primary"),
      link("uncertainty.tif", "Uncertainty (TIFF)"),
      link("report.json", "Report (JSON)"),
      ...(wish.mask ? [link("mask", "Mask")] : []),
      make("a", { href: `#new/${wish.upload}`, className: "button" }, "Run again with other settings"),
    ];
  }

  #connect() {
    const { place, viewer } = this;
    for (const button of all("[data-view]", place)) {
      button.addEventListener("click", () => {
        this.view = button.dataset.view;
        this.showFrame();
      });
    }
    const zooms = { in: () => viewer.zoom(1.5), out: () => viewer.zoom(1 / 1.5), fit: () => viewer.fit() };
    for (const button of all("[data-zoom]", place)) button.addEventListener("click", zooms[button.dataset.zoom]);
    find(".cut", place).addEventListener("input", (event) => viewer.setCut(event.target.value / 100));
    find(".frame", place).addEventListener("input", () => this.showFrame());
    find(".copy", place).addEventListener("click", trying(async (event) => {
      await navigator.clipboard.writeText(find(".command", place).textContent);
      event.target.textContent = "Copied";
    }));
  }

  async #show() {
    const { place, view, frame, viewer, job } = this;
    for (const button of all("[data-view]", place)) button.ariaPressed = String(button.dataset.view === view);
    find(".frames output", place).textContent = `${frame + 1} of ${job.picture.frames}`;
    find("#viewer-help", place).textContent = HELP + HELPS[view];
    find(".explain", place).textContent = this.#explanation();
    describe(find(".found", place), this.#found());
    const canvas = find(".viewer canvas", place);
    canvas.ariaLabel = { compare: "Before and after", uncertainty: "Uncertainty", residual: "What was removed",
      latents: "The picture, to choose a patch from" }[view];
    find(".slider", place).hidden = view !== "compare";
    find(".outcome", place).hidden = view === "latents";
    for (const tag of all(".tag", place)) tag.hidden = view !== "compare";
    await this.latents.show(view === "latents", frame);
    const load = (name) => image(`${this.address}/view/${name}.png?frame=${frame}`);
    if (view === "compare") viewer.show(...(await Promise.all([load("after"), load("before")])));
    else viewer.show(await load(view === "latents" ? "before" : view));
    place.dataset.shown = `${view} ${frame}`; // for whoever waits for it
  }

  #explanation() {
    const { summary } = this.job;
    return {
      compare: "",
      uncertainty: `How far each pixel may be off: black is certain, bright is ${number(summary.std_high)} or more` +
        (this.partial ? ", and pages that were not restored are grey." : "."),
      residual: "What was removed, grey where nothing. It should look like noise: where you see the picture in it, " +
        "some of the picture was removed, too.",
      latents: "Each latent adds its own patterns to a patch where it is switched on; most patches need one or two. " +
        "Choose a patch in the picture to see which.",
    }[this.view];
  }

  #followViewer() {
    find(".scale", this.place).textContent = this.viewer.percent;
    find(".cut", this.place).value = Math.round(100 * this.viewer.cut);
  }
}

const HELPS = {
  compare: "Drag the white line, or use the slider.",
  uncertainty: "",
  residual: "",
  latents: "Click a place, or move the cross with the arrows and press Enter.",
};

/** What is left of the root mean square error at hidden pixels without their own noise. */
function error(hidden, noise) {
  return hidden > noise ? `about ${number(Math.sqrt(hidden ** 2 - noise ** 2))}` : "too small to tell";
}
