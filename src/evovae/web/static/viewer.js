// Pictures side by side, or two with a slider between them, zoomed and panned together by wheel, fingers, mouse and keys.
//
// A pane is { label, layers, left }: layers are { picture, alpha }, drawn over each other; left is another pane, which is
// shown to the left of the slider, or nothing.

import { ARROWS } from "./dom.js";

const STEP = 1.25, MOST = 64, REACH = 14, STILL = 4;

export const pane = (label, picture) => ({ label, layers: [{ picture }] });

export class Viewer {
  constructor(canvas, { changed = () => {}, picked = null } = {}) {
    Object.assign(this, { canvas, changed, picked, panes: [], extent: null, cut: 0.5, cross: null, box: null });
    this.view = { scale: 1, x: 0, y: 0 };
    this.fingers = new Map();
    this.fitted = true;
    new ResizeObserver(() => this.#resize()).observe(canvas);
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, (event) => this.#lift(event));
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Show panes of pictures of one size; if that is the size there was before, place and zoom stay. */
  show(...panes) {
    const { width, height } = panes[0].layers[0].picture;
    const same = this.extent?.width === width && this.extent?.height === height;
    Object.assign(this, { panes, extent: { width, height } });
    if (same && !this.fitted) this.#moveBy(0, 0);
    else this.fit();
  }

  get #columns() {
    return Math.ceil(Math.sqrt(Math.max(this.panes.length, 1)));
  }

  /** Of a pane. */
  get #size() {
    const rows = Math.ceil(Math.max(this.panes.length, 1) / this.#columns);
    return { width: this.canvas.clientWidth / this.#columns, height: this.canvas.clientHeight / rows };
  }

  get #least() {
    const { width, height } = this.#size;
    return Math.min(width / this.extent.width, height / this.extent.height);
  }

  fit() {
    const { width, height } = this.#size;
    if (!this.extent || !width) return;
    const scale = this.#least;
    this.view = { scale, x: (width - scale * this.extent.width) / 2, y: (height - scale * this.extent.height) / 2 };
    this.fitted = true;
    this.draw();
  }

  /** Zoom about a point of the canvas, its middle if none is named. */
  zoom(factor, at = { x: this.#size.width / 2, y: this.#size.height / 2 }) {
    const { scale, x, y } = this.view;
    const next = Math.min(Math.max(scale * factor, this.#least), Math.max(MOST, this.#least));
    const grown = next / scale;
    this.view = { scale: next, x: at.x - grown * (at.x - x), y: at.y - grown * (at.y - y) };
    this.fitted = next === this.#least;
    this.#moveBy(0, 0);
  }

  /** Pan, as far as there is something to be seen. */
  #moveBy(x, y) {
    const { width, height } = this.#size;
    const within = (at, wide, room) =>
      wide <= room ? (room - wide) / 2 : Math.min(Math.max(at, room - wide), 0);
    this.view.x = within(this.view.x + x, this.view.scale * this.extent.width, width);
    this.view.y = within(this.view.y + y, this.view.scale * this.extent.height, height);
    this.draw();
  }

  setCut(cut) {
    this.cut = Math.min(Math.max(cut, 0), 1);
    this.draw();
  }

  #resize() {
    const ratio = devicePixelRatio;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    Object.assign(this.canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    if (!this.extent || !width) return;
    if (this.fitted) this.fit();
    else this.#moveBy(0, 0);
  }

  draw() {
    const context = this.canvas.getContext("2d");
    const { width, height } = this.#size;
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.clearRect(0, 0, this.canvas.clientWidth, this.canvas.clientHeight);
    context.imageSmoothingEnabled = this.view.scale * devicePixelRatio < 1;
    context.imageSmoothingQuality = "high";
    this.panes.forEach((pane, number) => {
      context.save();
      context.translate((number % this.#columns) * width, Math.floor(number / this.#columns) * height);
      context.beginPath();
      context.rect(number % this.#columns ? 2 : 0, number >= this.#columns ? 2 : 0, width, height); // a gap between
      context.clip();
      this.#paint(context, pane.layers);
      if (pane.left) this.#drawCut(context, pane.left.layers, this.cut * width, height);
      if (this.cross) this.#drawCross(context);
      if (pane.left) this.#drawLabel(context, pane.left.label, 10, false);
      this.#drawLabel(context, pane.label, pane.left ? width - 10 : 10, Boolean(pane.left));
      context.restore();
    });
    this.changed(this);
  }

  #paint(context, layers) {
    const { scale, x, y } = this.view;
    for (const { picture, alpha = 1 } of layers) {
      context.globalAlpha = alpha;
      context.drawImage(picture, x, y, scale * picture.width, scale * picture.height);
    }
    context.globalAlpha = 1;
  }

  #drawLabel(context, label, x, toTheLeft) {
    if (!label) return;
    context.font = "13px system-ui, sans-serif";
    context.textBaseline = "middle";
    const wide = context.measureText(label).width + 18;
    const left = toTheLeft ? x - wide : x;
    context.fillStyle = "#000a";
    context.beginPath();
    context.roundRect(left, 10, wide, 24, 12);
    context.fill();
    context.fillStyle = "#fff";
    context.fillText(label, left + 9, 22);
  }

  #drawCut(context, layers, at, height) {
    context.save();
    context.beginPath();
    context.rect(0, 0, at, height);
    context.clip();
    this.#paint(context, layers);
    context.restore();
    context.fillStyle = "#fff";
    context.shadowColor = "#000";
    context.shadowBlur = 4;
    context.fillRect(at - 1, 0, 2, height);
    context.beginPath();
    context.arc(at, height / 2, 9, 0, 7);
    context.fill();
    context.shadowBlur = 0;
  }

  /** The pixel that keys would pick, and the patch that was. */
  #drawCross(context) {
    const { scale, x, y } = this.view;
    const outline = (left, top, wide, high, colour) => {
      context.lineWidth = 3;
      context.strokeStyle = "#000";
      context.strokeRect(x + scale * left, y + scale * top, scale * wide, scale * high);
      context.lineWidth = 1.5;
      context.strokeStyle = colour;
      context.strokeRect(x + scale * left, y + scale * top, scale * wide, scale * high);
    };
    if (this.box) outline(this.box.left, this.box.top, this.box.width, this.box.height, "#ffd34d");
    outline(this.cross.column, this.cross.row, 1, 1, "#fff");
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  /** Where a place of the canvas is in its pane. */
  #inPane({ x, y }) {
    const { width, height } = this.#size;
    return { x: x % width, y: y % height };
  }

  #wheel(event) {
    if (!this.extent) return;
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), this.#inPane(this.#place(event)));
  }

  #press(event) {
    if (!this.extent) return;
    const at = this.#place(event);
    this.canvas.setPointerCapture(event.pointerId);
    this.fingers.set(event.pointerId, at);
    this.pressed = at;
    this.moved = false;
    this.cutting = Boolean(this.panes[0].left) && Math.abs(at.x - this.cut * this.#size.width) < REACH;
  }

  #move(event) {
    const before = this.fingers.get(event.pointerId);
    if (!before) return;
    const at = this.#place(event);
    this.fingers.set(event.pointerId, at);
    this.moved ||= Math.hypot(at.x - this.pressed.x, at.y - this.pressed.y) > STILL;
    if (this.fingers.size === 2) this.#pinch(event.pointerId, before, at);
    else if (this.cutting) this.setCut(at.x / this.#size.width);
    else if (this.moved) this.#moveBy(at.x - before.x, at.y - before.y);
  }

  #pinch(finger, before, at) {
    const [, other] = [...this.fingers].find(([name]) => name !== finger);
    const far = (point) => Math.hypot(point.x - other.x, point.y - other.y);
    this.moved = true;
    this.zoom(far(at) / Math.max(far(before), 1), this.#inPane({ x: (at.x + other.x) / 2, y: (at.y + other.y) / 2 }));
  }

  #lift(event) {
    this.fingers.delete(event.pointerId);
    if (event.type !== "pointerup" || this.moved || !this.picked || this.fingers.size) return;
    const at = this.#inPane(this.#place(event));
    const { scale, x, y } = this.view;
    this.#pick(Math.floor((at.y - y) / scale), Math.floor((at.x - x) / scale));
  }

  #pick(row, column) {
    if (row < 0 || column < 0 || row >= this.extent.height || column >= this.extent.width) return;
    this.cross = { row, column };
    this.draw();
    this.picked(row, column);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.extent) return;
    if (event.key === "+" || event.key === "=") this.zoom(STEP);
    else if (event.key === "-") this.zoom(1 / STEP);
    else if (event.key === "0") this.fit();
    else if (event.key in ARROWS) this.#arrow(...ARROWS[event.key], event.shiftKey ? 8 : 1);
    else if (event.key === "Enter" && this.picked && this.cross) this.#pick(this.cross.row, this.cross.column);
    else return;
    event.preventDefault();
  }

  /** Arrows move the cross where pixels are picked, the slider of a picture that is seen whole, and others as a whole. */
  #arrow(x, y, far) {
    if (!this.picked && this.fitted && this.panes[0].left) {
      this.setCut(this.cut + 0.02 * x * far);
      return;
    }
    if (!this.picked) {
      this.#moveBy(-40 * x * far, -40 * y * far);
      return;
    }
    const { width, height } = this.extent;
    const { row, column } = this.cross ?? { row: height >> 1, column: width >> 1 };
    const within = (at, count) => Math.min(Math.max(at, 0), count - 1);
    this.cross = { row: within(row + far * y, height), column: within(column + far * x, width) };
    this.draw();
  }

  get percent() {
    return `${Math.round(100 * this.view.scale)} %`;
  }
}
