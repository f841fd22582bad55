// Which page is shown: #new, #jobs or #job/ID.

import { all, find, image, post, request, say, trying } from "./dom.js";
import { JobPage, showJobs } from "./jobs.js";
import { Start } from "./start.js";
import { pane, Viewer } from "./viewer.js";

const terms = await request("api/terms").catch((error) => say(error.message));
const job = new JobPage(terms?.seconds ?? Infinity);
const start = terms ? new Start(terms) : null;
if (terms) find("#version").textContent = terms.version;

const example = new Viewer(find("#example canvas"));
trying(async () => {
  const [before, after] = await Promise.all(["example-before.png", "example-after.png"].map(image));
  example.show({ ...pane("after", after), left: pane("before", before) });
})();

find("#run-sample").addEventListener("click", trying(async ({ target }) => {
  target.disabled = true;
  try {
    const picture = await post("api/sample");
    const { id } = await post("api/jobs", { upload: picture.id, preset: "fast", held_out: 0 });
    location.hash = `#job/${id}`;
  } finally {
    target.disabled = false;
  }
}));

async function go() {
  const [page, id, teacher] = (location.hash.slice(1) || "new").split("/");
  if (!["new", "jobs", "job"].includes(page)) return; // a place within the page
  say();
  job.close();
  for (const section of all("main > section")) section.hidden = section.id !== page;
  for (const link of all("nav a")) {
    if (link.hash === `#${page}`) link.ariaCurrent = "page";
    else link.removeAttribute("aria-current");
  }
  document.title = "evovae";
  if (page === "new" && id !== "apply") start?.apply(null);
  if (page === "new" && id === "apply") start?.apply(await request(`api/jobs/${teacher}`));
  else if (page === "new" && id) {
    history.replaceState(null, "", "#new");
    await start?.again(id);
  }
  if (page === "jobs") await showJobs();
  if (page === "job") await job.open(id);
}

addEventListener("hashchange", trying(go));
await trying(go)();
