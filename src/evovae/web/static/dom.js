// Small helpers: elements, numbers as people read them, and requests whose errors are sentences.

export const find = (selector, within = document) => within.querySelector(selector);
export const all = (selector, within = document) => [...within.querySelectorAll(selector)];

/** An element with properties and children; text is never taken for markup. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Where arrow keys lead, across and down. */
export const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Where in the pixels of a canvas a pointer is. */
export function pixel(event, canvas) {
  const box = canvas.getBoundingClientRect();
  const scale = canvas.width / box.width;
  return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
}

/** Fills a <dl> with pairs of a term and what there is to say of it. */
export function describe(list, pairs) {
  list.replaceChildren(...pairs.flatMap(([term, said]) => [make("dt", {}, term), make("dd", {}, said)]));
}

export function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e6)) return value.toExponential(2);
  return String(Number(value.toPrecision(size < 1 ? 2 : size < 100 ? 3 : 4)));
}

export function duration(seconds) {
  if (seconds < 1.5) return "a second";
  if (seconds < 90) return `${Math.round(seconds)} seconds`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} minutes`;
  return `${number(seconds / 3600)} hours`;
}

/** Of several pages the mean, and how many. */
export function mean(values) {
  const known = values.filter((value) => value !== null);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}

/** JSON from the server; what it refuses is an Error with its sentence. */
export async function request(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("the server does not answer; is it still running?");
  }
  if (answer.status === 204) return null;
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.detail ?? `the server answered ${answer.status}`);
  return body;
}

export const post = (path, body) =>
  request(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

export async function image(address) {
  const picture = new Image();
  picture.src = address;
  try {
    await picture.decode();
  } catch {
    throw new Error("a view of the picture could not be loaded; is the server still running?");
  }
  return picture;
}

/** Says a sentence at the top of the page, or nothing. */
export function say(sentence = "") {
  const place = find("#said");
  place.textContent = sentence && sentence[0].toUpperCase() + sentence.slice(1) + (/[.?!]$/.test(sentence) ? "" : ".");
  place.hidden = !sentence;
  if (sentence) place.scrollIntoView({ block: "nearest" });
}

/** Runs what may fail, and says why if it does. */
export const trying =
  (action) =>
  async (...given) => {
    try {
      return await action(...given);
    } catch (error) {
      say(error.message);
      return undefined;
    }
  };
