// Paper to draw on: strokes over an image or nothing, with an eraser and undo.

export class Paper {
  /** `canvas` is drawn on; `changed()` is called after every stroke. */
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.size = [canvas.width, canvas.height];
    this.width = 16; // as thick beside a digit as what readers learn from
    this.erasing = false;
    this.image = null;
    this.done = [];
    this.stroke = null;
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.go(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, () => this.end());
    }
    this.paint();
  }

  get empty() {
    return !this.image && !this.done.some((stroke) => !stroke.erases);
  }

  /** The drawing as a PNG file in a data URI. */
  get picture() {
    return this.canvas.toDataURL("image/png");
  }

  /** Pen strokes without what erases, in the order they were drawn. */
  get strokes() {
    return this.done.filter((stroke) => !stroke.erases).map((stroke) => stroke.points);
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.canvas.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  begin(event) {
    if (event.button) return;
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    const share = this.canvas.height / 160;
    const width = (this.erasing ? 2.5 : 1) * this.width * share;
    this.stroke = { points: [this.place(event)], width, erases: this.erasing };
    this.line(this.stroke);
  }

  go(event) {
    if (!this.stroke) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const one of events.length ? events : [event]) this.stroke.points.push(this.place(one));
    this.line(this.stroke);
  }

  end() {
    if (!this.stroke) return;
    this.done.push(this.stroke);
    this.stroke = null;
    this.changed();
  }

  line({ points, width, erases }) {
    const pen = this.context;
    pen.strokeStyle = erases ? "#fff" : "#16181c";
    pen.lineWidth = width;
    pen.lineCap = pen.lineJoin = "round";
    pen.beginPath();
    pen.moveTo(...points[0]);
    for (const point of points.length > 1 ? points.slice(1) : points) pen.lineTo(...point);
    pen.stroke();
  }

  paint() {
    const [wide, high] = this.image ? [this.image.width, this.image.height] : this.size;
    this.canvas.width = wide;
    this.canvas.height = high;
    this.context.fillStyle = "#fff";
    this.context.fillRect(0, 0, wide, high);
    if (this.image) this.context.drawImage(this.image, 0, 0);
    for (const stroke of this.done) this.line(stroke);
  }

  undo() {
    if (this.done.length) this.done.pop();
    else this.image = null;
    this.paint();
    this.changed();
  }

  clear() {
    this.image = null;
    this.done = [];
    this.paint();
    this.changed();
  }

  /** Put an image, a data URI, on the paper. */
  async show(uri) {
    const image = new Image();
    image.src = uri;
    await image.decode();
    this.image = image;
    this.done = [];
    this.paint();
    this.changed();
  }
}
