// One experiment's figure: it reads its data, follows pointer and keys, and shows what is under them.
class Figure extends Lanes {
  constructor(root, number) {
    super();
    this.data = JSON.parse(root.querySelector("script").textContent);
    this.plot = root.querySelector(".plot");
    this.svg = root.querySelector("svg");
    this.tip = root.querySelector(".tip");
    this.clip = `clip-${number}`;
    this.view = this.data.view.slice();
    this.row = 0;
    this.cursor = null;
    this.prefix = commonStart(this.data.nodes.map((lane) => lane.label));
    this.drawnAt = 0;
    this.plot.style.minHeight = this.guessHeight() + "px";
    this.listen(root);
  }

  /** About how tall it will be, so that nothing below it jumps when it is drawn. */
  guessHeight() {
    const { faults, load, endpoints, ...lanes } = this.data;
    const rows = ["nodes", "pods", "dns", "probes", "events"].map((kind) => lanes[kind].length);
    return 130 + faults.length * 38 + (load ? 3 * 30 + 2 * PLOT + STEPS : 30) + endpoints.length * STEPS +
      rows.reduce((sum, count) => sum + (count ? 30 + count * LANE : 0), 30);
  }

  /** Draw it now and whenever its width changes; until then a long report costs nothing. */
  wake() {
    if (this.drawnAt) return;
    this.plot.style.minHeight = "";
    this.drawnAt = this.plot.clientWidth;
    this.draw();
    new ResizeObserver(() => {
      if (this.plot.clientWidth === this.drawnAt) return;
      this.drawnAt = this.plot.clientWidth;
      this.draw();
    }).observe(this.plot);
  }

  // ---- reading ----

  wall(t) {
    if (this.data.wall_ms === null) return "";
    return " · " + new Date(this.data.wall_ms + t * 1000).toISOString().slice(11, 23) + " UTC";
  }

  drawCursor() {
    this.hand.querySelectorAll(".crosshair, .row-mark").forEach((element) => element.remove());
    if (this.cursor === null || !this.rows.length) {
      this.tip.hidden = true;
      return;
    }
    const x = this.x(this.cursor), row = this.rows[this.row];
    this.node(this.hand, "line", { x1: x, x2: x, y1: 8, y2: this.bottom, class: "crosshair" });
    this.node(this.hand, "rect", { x: this.left + 1, y: row.y, width: this.right - this.left - 2, height: row.height, class: "row-mark" });
    this.fillTip(row);
    this.tip.hidden = false;
    const width = this.tip.offsetWidth, room = this.plot.clientWidth;
    this.tip.style.left = Math.max(4, x + 16 + width < room ? x + 16 : x - 16 - width) + "px";
    this.tip.style.top = Math.max(4, Math.min(row.y + row.height + 6, this.bottom + 30 - this.tip.offsetHeight)) + "px";
  }

  fillTip(row) {
    const line = (kind, text) => {
      const element = document.createElement(kind === "when" ? "span" : kind);
      if (kind === "when") element.className = kind;
      element.textContent = text;
      return element;
    };
    const phases = this.data.phases.filter((p) => p.from <= this.cursor && this.cursor < p.to).map((p) => p.name);
    const about = Object.keys(this.parts).filter((name) => this.parts[name][0] <= row.y && row.y < this.parts[name][1]);
    const gaps = this.data.gaps.filter((g) => g.from <= this.cursor && this.cursor <= g.to && g.where.some((name) => about.includes(name)));
    const unseen = gaps.map((g) => [g.late ? "told of afterwards" : "not seen", `${g.what}, ${span(g.from, g.to)}`]);
    const lines = [...row.read(this.cursor), ...unseen];
    this.tip.replaceChildren(
      line("b", row.label),
      line("when", seconds(this.cursor) + this.wall(this.cursor) + (phases.length ? " · " + phases.join(", ") : "")),
      ...lines.map(([name, text]) => line("div", name ? `${name}: ${text}` : text)),
    );
  }

  // ---- moving ----

  show(from, to) {
    const [first, last] = this.data.extent;
    const least = Math.min(0.05, last - first);
    const width = Math.min(Math.max(to - from, least), last - first);
    const start = Math.min(Math.max(from, first), last - width);
    this.view = [start, start + width];
    this.draw();
  }

  zoom(factor, around = (this.view[0] + this.view[1]) / 2) {
    this.show(around - (around - this.view[0]) * factor, around + (this.view[1] - around) * factor);
  }

  pan(part) {
    const by = (this.view[1] - this.view[0]) * part;
    this.show(this.view[0] + by, this.view[1] + by);
  }

  act(what) {
    const moves = {
      in: () => this.zoom(0.6), out: () => this.zoom(1 / 0.6), left: () => this.pan(-0.2), right: () => this.pan(0.2),
      reset: () => this.show(...this.data.view), all: () => this.show(...this.data.extent),
    };
    moves[what]();
  }

  listen(root) {
    root.querySelectorAll("button").forEach((button) => button.addEventListener("click", () => this.act(button.dataset.do)));
    this.plot.addEventListener("keydown", (event) => this.key(event));
    this.plot.addEventListener("dblclick", () => this.act("reset"));
    this.plot.addEventListener("blur", () => { this.cursor = null; this.drawCursor(); });
    this.plot.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.zoom(event.deltaY > 0 ? 1.25 : 0.8, this.t(this.at(event).x));
    }, { passive: false });
    this.drag();
  }

  at(event) {
    const box = this.svg.getBoundingClientRect();
    return { x: Math.min(Math.max(event.clientX - box.left, this.left), this.right), y: event.clientY - box.top, raw: event.clientX - box.left };
  }

  /** What is under the pointer becomes what is read. */
  point(event) {
    const { x, y, raw } = this.at(event);
    const row = this.rows.findIndex((r) => r.y <= y && y < r.y + r.height);
    this.cursor = row < 0 || raw < this.left ? null : this.t(x);
    if (row >= 0) this.row = row;
    this.drawCursor();
  }

  drag() {
    let start = null, brush = null, view = null;
    const stop = () => { brush?.remove(); start = brush = view = null; };
    this.plot.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      if (event.pointerType === "touch") {
        this.point(event);
        return;
      }
      start = this.at(event).x;
      view = event.shiftKey ? this.view.slice() : null;
      this.plot.setPointerCapture(event.pointerId);
    });
    this.plot.addEventListener("pointermove", (event) => {
      const { x } = this.at(event);
      if (start !== null && view) {
        const by = ((start - x) / (this.right - this.left)) * (view[1] - view[0]);
        this.show(view[0] + by, view[1] + by);
      } else if (start !== null && Math.abs(x - start) > 4) {
        brush?.remove();
        brush = this.node(this.hand, "rect", { x: Math.min(x, start), y: 0, width: Math.abs(x - start), height: this.bottom, class: "brush" });
      }
      this.point(event);
    });
    this.plot.addEventListener("pointerup", (event) => {
      const from = start, zooming = brush !== null && !view, end = this.at(event).x;
      stop();
      if (zooming) this.show(Math.min(this.t(from), this.t(end)), Math.max(this.t(from), this.t(end)));
    });
    this.plot.addEventListener("pointercancel", stop);
    this.plot.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "touch") return;
      this.cursor = null;
      this.drawCursor();
    });
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = (this.view[1] - this.view[0]) / 100;
    const read = (move, by) => {
      const middle = (this.view[0] + this.view[1]) / 2;
      this.cursor = Math.min(Math.max((this.cursor ?? middle) + move, this.view[0]), this.view[1]);
      this.row = Math.min(Math.max(this.row + by, 0), this.rows.length - 1);
      this.drawCursor();
    };
    const keys = {
      ArrowLeft: () => (event.shiftKey ? read(-step, 0) : this.pan(-0.1)),
      ArrowRight: () => (event.shiftKey ? read(step, 0) : this.pan(0.1)),
      ArrowUp: () => read(0, -1),
      ArrowDown: () => read(0, 1),
      "+": () => this.zoom(0.6), "=": () => this.zoom(0.6), "-": () => this.zoom(1 / 0.6), "_": () => this.zoom(1 / 0.6),
      0: () => this.act("reset"), Home: () => this.act("reset"), End: () => this.act("all"),
      Escape: () => { this.cursor = null; this.drawCursor(); },
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  }
}

const figures = [...document.querySelectorAll(".figure")].map((root, number) => (root.figure = new Figure(root, number)));
const coming = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) entry.target.closest(".figure").figure.wake();
}, { rootMargin: "1500px" });
const soon = figures.filter((figure) => figure.plot.getBoundingClientRect().top < 2 * innerHeight);
soon.forEach((figure) => figure.wake());
figures.forEach((figure) => coming.observe(figure.plot));
addEventListener("beforeprint", () => figures.forEach((figure) => figure.wake()));
