// All jobs there have been.

import { find, make, number, request, trying } from "./dom.js";
import { facts, title } from "./start.js";

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
