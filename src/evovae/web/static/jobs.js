// Jobs: one is followed while it waits and runs, and shown when it has ended; and all that there have been.

import { describe, duration, find, make, number, post, request, trying } from "./dom.js";
import { facts, title } from "./look.js";
import { Curve } from "./plots.js";
import { Result } from "./result.js";

const TITLES = { queued: "Waiting", running: "Working", done: "Done", stopped: "Stopped", failed: "Failed" };

export class JobPage {
  /** Of a server that gives jobs so many seconds. */
  constructor(most) {
    this.most = most;
    this.curve = new Curve(find("#curve"), find("#curve-caption"));
    this.events = null;
    find("#cancel").addEventListener("click", trying(async () => {
      find("#cancel").disabled = true;
      this.#state("Stopping after this epoch …");
      this.stopping = true;
      await post(`api/jobs/${this.id}/cancel`);
    }));
  }

  /** Leave the job that is shown; it goes on. */
  close() {
    this.events?.close();
    this.events = null;
  }

  async open(id) {
    this.close();
    delete find("#result").dataset.shown;
    const job = await request(`api/jobs/${id}`);
    Object.assign(this, { id, job, stopping: false });
    this.curve.clear();
    find("#cancel").disabled = false;
    find("#cancel").textContent = job.wish.model ? "Stop" : "Stop, and keep the best so far"; // there is nothing before the end
    find("#result").replaceChildren();
    find("#job-notes").replaceChildren();
    find("#live").src = `api/uploads/${job.wish.upload}/preview.png`;
    find("#bar").removeAttribute("value");
    describe(find("#live-facts"), []);
    this.#title(job.state);
    find("#job-title").focus({ preventScroll: true }); // where the work is
    if (job.summary || ["failed", "stopped"].includes(job.state)) this.#end(job);
    else this.#follow(id);
  }

  #follow(id) {
    find("#running").hidden = false;
    find("#result").hidden = true;
    this.#state("");
    const events = (this.events = new EventSource(`api/jobs/${id}/events`));
    const on = (kind, act) => events.addEventListener(kind, (event) => act(JSON.parse(event.data)));
    on("state", ({ state, ahead }) => {
      this.#title(state);
      if (state === "queued") this.#state(ahead ? `${ahead} before this one.` : "Next in turn.");
      if (state === "running") this.#state("Getting ready …");
    });
    on("epoch", (epoch) => this.#epoch(epoch));
    on("preview", ({ number: count }) => (find("#live").src = `api/jobs/${id}/preview.png?${count}`));
    on("warning", ({ message }) => find("#job-notes").append(make("li", {}, message)));
    on("end", (job) => {
      this.close();
      this.#end(job);
    });
    events.onerror = () => this.#state("The server does not answer; trying again …");
  }

  #epoch(epoch) {
    this.curve.add(epoch);
    find("#bar").value = epoch.share;
    const page = epoch.pages > 1 ? `Page ${epoch.page + 1} of ${epoch.pages}, epoch` : "Epoch";
    const late = epoch.seconds + epoch.left > this.most ? `, more than the ${duration(this.most)} that a job may take` : "";
    const left = epoch.share < 1 && epoch.left !== null ? `, about ${duration(epoch.left)} left${late}` : ", finishing";
    if (!this.stopping && epoch.epochs) this.#state(`${page} ${epoch.epoch} of ${epoch.epochs}${left}.`);
    else if (!this.stopping) this.#state(`Looking for states of its patches${left}.`);
    describe(find("#live-facts"), !epoch.epochs ? [] : [
      ["Noise level so far", number(epoch.sigma)],
      ["New states per patch", number(epoch.new)],
    ]);
  }

  #end(job) {
    find("#running").hidden = true;
    this.#title(job.state);
    if (job.message) find("#job-notes").append(make("li", {}, job.message));
    find("#result").hidden = !job.summary;
    if (job.summary) this.result = new Result(find("#result"), job);
  }

  #title(state) {
    find("#job-title").textContent = TITLES[state];
    find("#job").dataset.state = state;
    document.title = `${TITLES[state]} – evovae`;
  }

  #state(sentence) {
    find("#job-state").textContent = sentence;
  }
}

export async function showJobs() {
  const jobs = await request("api/jobs");
  const done = jobs.filter((job) => job.summary);
  find("#all-results").hidden = done.length < 2;
  find("#all-results a").href = `api/results.zip?${done.map((job) => `job=${job.id}`).join("&")}`;
  const empty = make("li", { className: "soft" }, "Nothing yet.");
  find("#job-list").replaceChildren(...(jobs.length ? jobs.map(card) : [empty]));
}

function card(job) {
  const name = `api/jobs/${job.id}`;
  const picture = job.summary ? `${name}/view/after.png` : `api/uploads/${job.wish.upload}/preview.png`;
  const { Size: size, Kind: kind } = Object.fromEntries(facts(job.picture));
  const found = job.summary ? [make("p", {}, `Noise level found: ${number(job.summary.sigma[0])}`)] : [];
  const when = new Date(1000 * job.created).toLocaleString();
  const thumbnail = make("img", { src: picture, alt: "", loading: "lazy" });
  thumbnail.addEventListener("error", () => thumbnail.remove());
  const remove = make("button", { type: "button", ariaLabel: `Remove the job of ${when}` }, "Remove");
  remove.hidden = ["queued", "running"].includes(job.state);
  remove.addEventListener("click", trying(async () => {
    await request(name, { method: "DELETE" });
    await showJobs();
  }));
  const link = make("a", { href: `#job/${job.id}` }, title(job));
  const notes = job.message ? [make("p", { className: "soft small" }, job.message)] : [];
  const state = make("span", { className: `state ${job.state}` }, job.state);
  const about = make("p", { className: "soft small" }, `${job.picture.name ? `${when} · ` : ""}${size} · ${kind} · ${job.wish.model ? "models of another picture" : job.wish.preset}`);
  return make("li", {}, thumbnail, make("div", {}, link, " ", state, about, ...found, ...notes, remove));
}
