// What became of a job: the picture beside what it was, what was found, and files to take away.

import { all, describe, duration, find, image, make, mean, number, trying } from "./dom.js";
import { Latents } from "./latents.js";
import { facts, Look, unit } from "./look.js";
import { Noise } from "./plots.js";
import { pane, Viewer } from "./viewer.js";

const HELP = "Wheel or + and − zoom, dragging or arrows pan, 0 fits. ";

export class Result {
  constructor(place, job) {
    this.job = job;
    this.address = `api/jobs/${job.id}`;
    place.replaceChildren(find("#result-template").content.cloneNode(true));
    this.place = place;
    this.viewer = new Viewer(find(".viewer canvas", place), { changed: () => this.#followViewer() });
    this.latents = new Latents(place, job, this.viewer);
    this.noise = new Noise(find(".noise", place), job, unit(job.picture));
    this.look = new Look(place, () => this.showFrame());
    this.look.reset(job.picture, this.address);
    this.view = "compare";
    find(".downloads", place).append(...this.#downloads());
    find("[data-view=latents]", place).hidden = !job.summary.models.some((count) => count > 0);
    this.#showStrength();
    this.#connect();
    this.showFrame = trying(() => this.#show());
    this.showFrame();
  }

  get page() {
    const { picture } = this.job;
    return Math.floor((this.look.frame * picture.pages) / picture.frames);
  }

  /** How much of the noise is removed, of what was when it was restored. */
  get strength() {
    return Number(find(".strength input", this.place).value) / 100;
  }

  /** Whether some pages were not restored. */
  get partial() {
    return this.job.summary.restored < this.job.picture.pages;
  }

  /** What there is to say: of all pages, but of noise what that of the page shown is like. */
  #found() {
    const { summary, picture } = this.job;
    const level = mean(summary.sigma), hidden = mean(summary.held_out);
    const found = [["Noise level found", number(level)], ["Noise", summary.noise[this.page] ?? "–"]];
    if (summary.filled) found.push(["Filled", `${summary.filled.toLocaleString()} pixels`]);
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
    const { id, picture, wish, summary } = this.job;
    const link = (path, text, kind = "button") =>
      make("a", { href: `${this.address}/${path}`, download: "", className: kind }, text);
    return [
      link("result", `Download the picture (${picture.format}, ${picture.dtype})`, "button primary"),
      link("uncertainty.tif", "Uncertainty (TIFF)"),
      link("report.json", "Report (JSON)"),
      ...(wish.mask ? [link("mask", "Mask")] : []),
      ...(summary.reusable || wish.model ? [link("model", "Models")] : []),
      ...(summary.reusable
        ? [make("a", { href: `#new/apply/${id}`, className: "button" }, "Use its models on another picture")]
        : []),
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
    find(".strength input", place).addEventListener("input", () => {
      this.#showStrength();
      this.#draw();
    });
    find(".copy", place).addEventListener("click", trying(async (event) => {
      await navigator.clipboard.writeText(find(".command", place).textContent);
      event.target.textContent = "Copied";
    }));
  }

  async #show() {
    const { place, view, look, job } = this;
    for (const button of all("[data-view]", place)) button.ariaPressed = String(button.dataset.view === view);
    find("#viewer-help", place).textContent = HELP + HELPS[view];
    find(".explain", place).textContent = this.#explanation();
    describe(find(".found", place), this.#found());
    const canvas = find(".viewer canvas", place);
    canvas.ariaLabel = { compare: "Before and after", together: "Before, after, what was removed, and uncertainty",
      uncertainty: "Uncertainty", residual: "What was removed", latents: "The picture, to choose a patch from" }[view];
    find(".slider", place).hidden = view !== "compare";
    find(".strength", place).hidden = !["compare", "together"].includes(view) || job.wish.strength === 0;
    find(".contrast", place).hidden = ["uncertainty", "residual"].includes(view);
    find(".outcome", place).hidden = view === "latents";
    await this.latents.show(view === "latents", look.frame, this.page);
    await this.noise.show(this.page);
    const grey = ["before", "after", ...(job.summary.filled ? ["filled"] : [])];
    const names = { compare: grey, together: [...grey, "residual", "uncertainty"], latents: ["before"] }[view] ?? [view];
    const load = async (name) => {
      const window = name === "residual" || name === "uncertainty" ? "" : `&${look.levels}`;
      return [name, await image(`${this.address}/view/${name}.png?${look.query}${window}`)];
    };
    this.pictures = Object.fromEntries(await Promise.all(names.map(load)));
    this.#draw();
    this.#showBar();
    await look.follow();
    place.dataset.shown = `${view} ${look.frame}`; // for whoever waits for it
  }

  /** What has been loaded, with as much of the noise as is asked for. */
  #draw() {
    const { before, after, filled, residual, uncertainty } = this.pictures;
    const strength = this.strength;
    const restored = { label: "after", layers: [
      { picture: before },
      { picture: after, alpha: strength },
      ...(filled && strength < 1 ? [{ picture: filled }] : []), // whatever the strength
    ] };
    const panes = {
      compare: () => [{ ...restored, left: pane("before", before) }],
      together: () => [pane("before", before), restored, pane("removed", residual), pane("uncertainty", uncertainty)],
      residual: () => [pane("", residual)],
      uncertainty: () => [pane("", uncertainty)],
      latents: () => [pane("", before)],
    };
    this.viewer.show(...panes[this.view]());
  }

  /** What colours mean, in units of the picture. */
  #showBar() {
    const { summary, picture } = this.job;
    const reach = 3 * Math.max(...summary.sigma);
    const { low, high } = this.look.window;
    const ends = { uncertainty: [0, summary.std_high], residual: [-reach, reach] }[this.view] ?? [low, high];
    const bar = find(".colour-bar", this.place);
    bar.dataset.colours = this.view === "uncertainty" ? "heat" : "grey";
    bar.hidden = ["together", "latents"].includes(this.view);
    const said = [number(ends[0]), number((ends[0] + ends[1]) / 2), `${number(ends[1])} ${unit(picture)}`];
    find("span", bar).replaceChildren(...said.map((text) => make("b", {}, text)));
  }

  /** In the files, and in the command, too. */
  #showStrength() {
    const { job, place, strength } = this;
    find(".strength output", place).textContent = `${Math.round(100 * strength)} %`;
    find(".downloads a", place).href = `${this.address}/result${strength < 1 ? `?strength=${strength}` : ""}`;
    const { command, exact } = job.summary;
    const all = Number((strength * job.wish.strength).toFixed(4));
    find(".command", place).textContent = strength < 1
      ? `${command.replace(/ --strength \S+/, "")} --strength ${all}`
      : command;
    const same = strength < 1 ? "It gives the same picture, but for rounding." : "It gives the same bytes on this machine.";
    find(".exact", place).textContent = exact
      ? `${same} The first picture is as you sent it` + (job.wish.mask ? "; the mask is among the files above." : ".")
      : "The work was stopped early, which the command does not know of: it will go on to the end.";
  }

  #explanation() {
    const { summary } = this.job;
    return {
      compare: "",
      together: "Before, after, what was removed (grey where nothing), and how far each pixel may be off.",
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
  compare: "Drag the white line, or use the slider. Where a picture has no value, it is red.",
  together: "All four move together. Where a picture has no value, it is red.",
  uncertainty: "",
  residual: "",
  latents: "Click a place, or move the cross with the arrows and press Enter.",
};

/** What is left of the root mean square error at hidden pixels without their own noise. */
function error(hidden, noise) {
  return hidden > noise ? `about ${number(Math.sqrt(hidden ** 2 - noise ** 2))}` : "too small to tell";
}
