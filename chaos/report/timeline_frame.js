// What all panels stand in: the scale, rows and their labels, phases, faults, bands and the axis.
class Frame {
  node(parent, name, attributes = {}, text = null) {
    const element = document.createElementNS(this.svg.namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== null) element.textContent = text;
    parent.append(element);
    return element;
  }

  x(t) {
    return this.left + ((t - this.view[0]) / (this.view[1] - this.view[0])) * (this.right - this.left);
  }

  t(x) {
    return this.view[0] + ((x - this.left) / (this.right - this.left)) * (this.view[1] - this.view[0]);
  }

  draw() {
    const width = this.plot.clientWidth;
    if (!width) return;
    this.left = width < 700 ? 112 : width < 1000 ? 188 : 236;
    this.right = width - RIGHT;
    this.svg.replaceChildren();
    const clip = this.node(this.node(this.svg, "defs"), "clipPath", { id: this.clip });
    this.under = this.node(this.svg, "g", { "clip-path": `url(#${this.clip})` });
    this.body = this.node(this.svg, "g", { "clip-path": `url(#${this.clip})` });
    this.over = this.node(this.svg, "g", { "clip-path": `url(#${this.clip})` });
    this.text = this.node(this.svg, "g");
    this.hand = this.node(this.svg, "g", { "clip-path": `url(#${this.clip})` });
    this.rows = [];
    this.parts = {};
    this.y = 10;
    this.part("phases", () => this.drawPhases());
    this.drawFaults();
    const top = this.y;
    this.part("load", () => this.drawLoad());
    this.drawLanes("Nodes", "nodes", [
      ["s-ready", "ready"], ["s-cordoned", "cordoned"], ["s-not-ready", "not ready"], ["s-paused", "paused"],
      ["s-stopped", "stopped"],
    ], true);
    const ran = this.data.pods.some((lane) => lane.runs.length) ? [["run", "container ran, by its node"]] : [];
    this.drawLanes("Pods", "pods", [
      ["s-pending", "pending"], ["s-running", "running, not ready"], ["s-ready", "ready"],
      ["s-terminating", "terminating"], ["new-uid", "new UID"], ...ran,
    ]);
    this.drawEndpoints();
    this.drawLanes("DNS answers", "dns", [
      ["s-answer", "address"], ["s-negative", "negative answer"], ["s-unanswered", "no answer"],
    ]);
    this.drawLanes("Other probes", "probes", [
      ["s-answer", "answered"], ["s-negative", "refused"], ["s-unanswered", "no answer"],
    ], true);
    this.drawLanes("Kubernetes events", "events", [["event-warning", "warning"], ["event-normal", "normal"]], true);
    this.bottom = this.y + 4;
    this.drawAxis(top);
    this.drawBands();
    this.svg.setAttribute("height", this.bottom + 44);
    this.node(clip, "rect", { x: this.left, y: 0, width: this.right - this.left, height: this.bottom + 34 });
    this.drawCursor();
  }

  /** Draws a part and notes where it stands, for what concerns it alone. */
  part(name, draw) {
    const from = this.y;
    draw();
    this.parts[name] = [from, this.y];
  }

  /** A name without what all nodes' names begin with, and without the cluster's domain and the stack's namespace. */
  short(name) {
    let bare = name.replace(/\.svc\.cluster\.local\.?/, "");
    if (this.data.namespace) bare = bare.replace("." + this.data.namespace, "");
    return this.prefix && bare.startsWith(this.prefix) ? bare.slice(this.prefix.length) : bare;
  }

  addRow(height, label, read) {
    const row = { y: this.y, height, label, read };
    this.rows.push(row);
    this.y += height;
    return row;
  }

  label(row, text, whole = text, middle = row.y + row.height / 2, kind = "lane") {
    const shown = fit(text, this.left - 24);
    const element = this.node(this.text, "text", { x: 12, y: middle + 4, class: kind }, shown);
    if (shown !== whole) this.node(element, "title", {}, whole);
  }

  head(title, legend, note = "") {
    this.y += 8;
    const mask = this.node(this.over, "rect", { x: this.left - 1, y: this.y, width: this.right - this.left + 2, class: "head" });
    const baseline = this.y + 16;
    this.node(this.text, "text", { x: 12, y: baseline, class: "title" }, title);
    const begin = Math.max(this.left, 12 + widthOf(title) * 1.1 + 18);
    let x = begin, line = baseline;
    if (this.left < 150 && legend.length) note = "";
    if (note) this.node(this.text, "text", { x, y: line, class: "note" }, note);
    if (note) x += widthOf(note, 11) + 22;
    for (const [kind, words] of legend) {
      if (x + 22 + widthOf(words, 11) > this.right && x > begin) {
        x = begin;
        line += 16;
      }
      this.sample(kind, x, line);
      this.node(this.text, "text", { x: x + 21, y: line, class: "note" }, words);
      x += 21 + widthOf(words, 11) + 18;
    }
    mask.setAttribute("height", 20 + line - baseline);
    this.y = line + 10;
  }

  /** A sample of how something is drawn. */
  sample(kind, x, y) {
    const line = (x1, x2, y1, y2) => this.node(this.text, "line", { x1, x2, y1, y2, class: kind });
    if (kind === "new-uid") line(x + 8, x + 8, y - 11, y + 1);
    else if (["p50", "p99", "max", "run"].includes(kind)) line(x, x + 16, y - 4, y - 4);
    else if (kind === "event-warning") this.node(this.text, "path", { d: `M${x + 3} ${y + 1}h10l-5 -10Z`, class: kind });
    else if (kind === "event-normal") this.node(this.text, "path", { d: `M${x + 7} ${y - 10}h2v12h-2Z`, class: kind });
    else this.node(this.text, "rect", { x, y: y - 10, width: 16, height: 11, class: kind });
  }

  drawPhases() {
    if (!this.data.phases.length) return;
    const row = this.addRow(20, "phase", (t) =>
      this.data.phases.filter((p) => p.from <= t && t < p.to).map((p) => ["phase " + p.name, span(p.from, p.to)]));
    this.label(row, "phase");
    for (const phase of this.data.phases) {
      const from = this.x(phase.from), to = this.x(phase.to);
      this.node(this.body, "rect", { x: from, y: row.y, width: Math.max(0, to - from), height: 18, class: "phase-bar" });
      const start = Math.max(from, this.left), end = Math.min(to, this.right);
      const shown = end - start > 12 ? fit(phase.name, end - start - 8, 11) : "";
      if (shown === phase.name) {
        this.node(this.body, "text", { x: (start + end) / 2, y: row.y + 13, "text-anchor": "middle", class: "note" }, shown);
      }
    }
  }

  drawFaults() {
    for (const fault of this.data.faults) {
      this.y += 4;
      const row = this.addRow(34, fault.label, (t) => {
        const reach = ((this.view[1] - this.view[0]) / (this.right - this.left)) * 5;
        return fault.spans.filter((s) => s.from - reach <= t && t <= s.to + reach).flatMap((s) => [
          [fault.label, span(s.from, s.to) + (s.open ? ", never healed" : "")],
          ...s.marks.map((m) => [EDGE_WORDS[m.edge] || m.edge, seconds(m.at) + this.wall(m.at)]),
          ...s.detail.map((d) => ["", d]),
        ]);
      });
      this.label(row, fault.name, fault.name, row.y + 8, "title");
      this.label(row, fault.target, fault.target, row.y + 23);
      for (const one of fault.spans) {
        const from = this.x(one.from), to = this.x(one.to);
        this.node(this.body, "rect", { x: from, y: row.y + 20, width: Math.max(3, to - from), height: 9, class: "fault-bar" });
        for (const mark of one.marks) {
          const x = this.x(mark.at), y = row.y + 24.5;
          this.node(this.body, "path", { d: `M${x - 4} ${y}L${x} ${y - 4}L${x + 4} ${y}L${x} ${y + 4}Z`, class: "fault-mark" });
        }
      }
      this.markLabels(fault.spans.flatMap((s) => s.marks), row.y + 12);
    }
  }

  /** The injection's word stands left of its mark, the others right; words that would collide share one label. */
  markLabels(marks, y) {
    const groups = [];
    for (const mark of marks.filter((m) => LINE_EDGES.has(m.edge)).sort((a, b) => a.at - b.at)) {
      const x = this.x(mark.at), word = EDGE_WORDS[mark.edge] || mark.edge, size = widthOf(word, 11);
      if (x < this.left || x > this.right) continue;
      const last = groups[groups.length - 1];
      const before = mark.edge === "inject" && x - size - 8 > Math.max(this.left, last ? last.end : 0);
      if (!before && last && x < last.end + 6) {
        if (!last.words.includes(word)) last.words.push(word);
        last.end = last.x + (last.before ? 0 : widthOf(last.words.join(" · "), 11));
      } else {
        groups.push({ x, before, words: [word], end: before ? x : x + size });
      }
    }
    for (const group of groups) {
      const words = group.words.join(" · ");
      const left = group.before || group.x + widthOf(words, 11) + 6 > this.right;
      this.node(this.body, "text", { x: group.x + (left ? -5 : 5), y, class: "note", "text-anchor": left ? "end" : "start" }, words);
    }
  }

  drawBands() {
    const all = { y: 0, height: this.bottom };
    this.data.phases.forEach((phase, index) => {
      const x = this.x(phase.from), width = Math.max(0, this.x(phase.to) - x);
      if (index % 2) this.node(this.under, "rect", { ...all, x, width, class: "phase-odd" });
    });
    for (const gap of this.data.gaps) {
      const x = this.x(gap.from), width = Math.max(2, this.x(gap.to) - x);
      for (const [from, to] of gap.where.map((name) => this.parts[name]).filter(Boolean)) {
        this.node(this.over, "rect", { x, width, y: from, height: to - from, class: gap.late ? "late-band" : "gap-band" });
      }
    }
    for (const one of this.data.faults.flatMap((f) => f.spans)) {
      const x = this.x(one.from);
      this.node(this.under, "rect", { ...all, x, width: Math.max(1, this.x(one.to) - x), class: "fault-band" });
      for (const mark of one.marks.filter((m) => LINE_EDGES.has(m.edge))) {
        const at = this.x(mark.at);
        this.node(this.under, "line", { x1: at, x2: at, y1: 20, y2: this.bottom, class: "fault-edge " + mark.edge });
      }
    }
  }

  drawAxis(top) {
    const step = niceStep(this.view[1] - this.view[0], Math.max(3, (this.right - this.left) / 90));
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const tall = { y1: top, y2: this.bottom };
    this.node(this.text, "line", { x1: this.left, x2: this.right, y1: this.bottom, y2: this.bottom, class: "frame" });
    for (let t = Math.ceil(this.view[0] / step) * step; t <= this.view[1] + 1e-9; t += step) {
      const value = +t.toFixed(6), x = this.x(value);
      this.node(this.under, "line", { x1: x, x2: x, ...tall, class: value === 0 ? "zero" : "grid" });
      const words = value === 0 ? "0" : seconds(value, digits);
      const half = widthOf(words, 11) / 2;
      const anchor = x + half > this.right + RIGHT - 2 ? "end" : "middle";
      this.node(this.text, "text", { x, y: this.bottom + 16, class: "tick", "text-anchor": anchor }, words);
    }
    this.node(this.text, "text", { x: this.right, y: this.bottom + 33, class: "note", "text-anchor": "end" }, "seconds from " + this.data.zero);
  }
}
