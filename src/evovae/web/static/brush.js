// Painting holes over the picture, by pointer and by keyboard.

import { ARROWS, find, pixel } from "./dom.js";

const COLOUR = "#e0413a";

/** Strokes on a canvas of the picture's own size: what is painted counts, not how it looks. */
export class Brush {
  constructor(canvas, cursor, changed) {
    Object.assign(this, { canvas, cursor, changed, strokes: [], size: 8, erase: false, at: { x: 0, y: 0 } });
    this.on = false;
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", () => this.#lift());
    canvas.addEventListener("pointercancel", () => this.#lift());
    canvas.addEventListener("pointerleave", () => (cursor.hidden = true));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => (cursor.hidden = true));
  }

  /** Paint, or leave the picture to be scrolled over: a swipe must not paint unless that was asked for. */
  turn(on) {
    this.on = on;
    this.canvas.classList.toggle("painting", on);
    this.cursor.hidden = true;
  }

  /** Start over, on a picture of this size. */
  reset(width, height) {
    Object.assign(this.canvas, { width, height });
    this.size = Math.max(1, Math.round(Math.min(width, height) / 32));
    this.at = { x: width / 2, y: height / 2 };
    this.clear();
  }

  clear() {
    this.strokes = [];
    this.#redraw();
  }

  undo() {
    this.strokes.pop();
    this.#redraw();
  }

  get isEmpty() {
    return this.share() === 0;
  }

  /** How much of the picture is painted over. */
  share() {
    if (!this.strokes.length) return 0;
    const { data } = this.#pixels();
    let count = 0;
    for (let i = 3; i < data.length; i += 4) count += data[i] > 127;
    return (4 * count) / data.length;
  }

  /** The holes as a PNG file: white on black. */
  async file() {
    const pixels = this.#pixels();
    for (let i = 0; i < pixels.data.length; i += 4) {
      pixels.data.fill(pixels.data[i + 3] > 127 ? 255 : 0, i, i + 3);
      pixels.data[i + 3] = 255;
    }
    const canvas = new OffscreenCanvas(this.canvas.width, this.canvas.height);
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    return canvas.convertToBlob({ type: "image/png" });
  }

  #pixels() {
    return this.canvas.getContext("2d").getImageData(0, 0, this.canvas.width, this.canvas.height);
  }

  #begin() {
    this.strokes.push({ size: this.size, erase: this.erase, points: [this.at] });
    this.#draw(this.strokes.at(-1));
  }

  #press(event) {
    if (event.button || !this.on) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.#follow(event);
    this.painting = true;
    this.#begin();
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
  }

  #move(event) {
    if (!this.on) return;
    this.#follow(event);
    if (!this.painting) return;
    this.strokes.at(-1).points.push(this.at);
    this.#draw(this.strokes.at(-1), 2);
  }

  #lift() {
    if (this.painting) this.changed();
    this.painting = false;
  }

  #key(event) {
    if (!this.on) return;
    if (event.key === " " || event.key === "Enter") {
      this.#begin();
    } else if (event.key in ARROWS) {
      if (event.shiftKey) this.#begin();
      const [x, y] = ARROWS[event.key], step = Math.max(1, Math.round(this.size / 2));
      const within = (value, most) => Math.min(Math.max(value, 0), most);
      this.at = { x: within(this.at.x + step * x, this.canvas.width), y: within(this.at.y + step * y, this.canvas.height) };
      if (event.shiftKey) {
        this.strokes.at(-1).points.push(this.at);
        this.#draw(this.strokes.at(-1));
      }
    } else {
      return;
    }
    event.preventDefault();
    this.#point();
    this.changed();
  }

  #follow(event) {
    this.at = pixel(event, this.canvas);
    this.#point();
  }

  /** Show where the brush is. */
  #point() {
    const scale = this.canvas.clientWidth / this.canvas.width;
    const wide = Math.max(this.size * scale, 4);
    this.cursor.hidden = false;
    this.cursor.style.width = this.cursor.style.height = `${wide}px`;
    this.cursor.style.left = `${this.canvas.offsetLeft + this.at.x * scale - wide / 2}px`;
    this.cursor.style.top = `${this.canvas.offsetTop + this.at.y * scale - wide / 2}px`;
  }

  #redraw() {
    this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
    for (const stroke of this.strokes) this.#draw(stroke);
    this.changed();
  }

  /** Draw a stroke, or its last points alone. */
  #draw({ size, erase, points }, last = points.length) {
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    context.globalCompositeOperation = erase ? "destination-out" : "source-over";
    Object.assign(context, { strokeStyle: COLOUR, lineWidth: size, lineCap: "round", lineJoin: "round" });
    const [first, ...rest] = points.slice(-last);
    context.beginPath();
    context.moveTo(first.x, first.y);
    for (const point of rest.length ? rest : [first]) context.lineTo(point.x, point.y);
    context.stroke();
  }
}

/** Connects a brush with the controls beside it; what turns painting on and off. */
export function connect(brush) {
  find("#brush-size").addEventListener("input", (event) => (brush.size = Number(event.target.value)));
  find("#erase").addEventListener("change", (event) => (brush.erase = event.target.checked));
  find("#undo").addEventListener("click", () => brush.undo());
  find("#clear").addEventListener("click", () => brush.clear());
  const paint = find("#paint");
  const turn = (on) => {
    brush.turn(on);
    paint.ariaPressed = String(on);
    for (const part of ["#brush", "#holes-help"]) find(part).hidden = !on;
  };
  paint.addEventListener("click", () => {
    turn(!brush.on);
    if (brush.on) brush.canvas.focus({ preventScroll: true });
  });
  document.addEventListener("keydown", (event) => {
    if (!brush.on || event.key !== "z" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    brush.undo();
  });
  return turn;
}
