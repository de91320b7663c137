"use strict";
(() => {
  const LANE = 24, RIGHT = 16, PLOT = 100, STEPS = 44;
  const EDGE_WORDS = { no_effect: "no effect" };
  const LINE_EDGES = new Set(["inject", "effect", "no_effect", "healed", "failed"]);
  const pen = document.createElement("canvas").getContext("2d");

  const widthOf = (text, size = 12) => {
    pen.font = `${size}px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif`;
    return pen.measureText(text).width;
  };
  /** Shortened in the middle, because names differ at their ends. */
  const fit = (text, width, size = 12) => {
    if (widthOf(text, size) <= width) return text;
    for (let keep = text.length - 1; keep > 2; keep--) {
      const head = Math.floor(keep * 0.5);
      const short = text.slice(0, head) + "…" + text.slice(text.length - (keep - head));
      if (widthOf(short, size) <= width) return short;
    }
    return "";
  };
  const seconds = (t, digits = 3) =>
    (t > 0 ? "+" : t < 0 ? "−" : "") + Math.abs(t).toFixed(digits).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "") + " s";
  const span = (from, to) => `${seconds(from)} to ${seconds(to)} (${(to - from).toFixed(2)} s)`;
  const niceStep = (range, count) => {
    const raw = range / count, power = 10 ** Math.floor(Math.log10(raw));
    return power * [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999);
  };
  const milliseconds = (ms) => (ms === null ? "–" : ms >= 1000 ? (ms / 1000).toFixed(2) + " s" : ms.toFixed(1) + " ms");

  class Figure {
    constructor(root, number) {
      this.data = JSON.parse(root.querySelector("script").textContent);
      this.plot = root.querySelector(".plot");
      this.svg = root.querySelector("svg");
      this.tip = root.querySelector(".tip");
      this.clip = `clip-${number}`;
      this.view = this.data.view.slice();
      this.row = 0;
      this.cursor = null;
      this.listen(root);
      new ResizeObserver(() => this.draw()).observe(this.plot);
      this.draw();
    }

    // ---- drawing ----

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
      this.y = 10;
      this.drawPhases();
      this.drawFaults();
      const top = this.y;
      this.drawLoad();
      this.drawLanes("Pods", this.data.pods, "pods", [
        ["s-pending", "pending"], ["s-running", "running, not ready"], ["s-ready", "ready"],
        ["s-terminating", "terminating"], ["new-uid", "new UID"],
      ]);
      this.drawEndpoints();
      this.drawLanes("DNS answers", this.data.dns, "dns", [
        ["s-answer", "address"], ["s-negative", "negative answer"], ["s-unanswered", "no answer"],
      ]);
      this.bottom = this.y + 4;
      this.drawAxis(top);
      this.drawBands();
      this.svg.setAttribute("height", this.bottom + 44);
      this.node(clip, "rect", { x: this.left, y: 0, width: this.right - this.left, height: this.bottom + 34 });
      this.drawCursor();
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
      this.node(this.over, "rect", { x: this.left - 1, y: this.y, width: this.right - this.left + 2, height: 20, class: "head" });
      this.y += 4;
      const baseline = this.y + 12;
      this.node(this.text, "text", { x: 12, y: baseline, class: "title" }, title);
      let x = Math.max(this.left, 12 + widthOf(title) * 1.1 + 18);
      if (this.left < 150 && legend.length) note = "";
      if (note) this.node(this.text, "text", { x, y: baseline, class: "note" }, note);
      if (note) x += widthOf(note, 11) + 22;
      for (const [kind, words] of legend) {
        if (x + 22 + widthOf(words, 11) > this.right) break;
        if (["p50", "p99", "max", "new-uid"].includes(kind)) {
          const at = kind === "new-uid" ? { x1: x + 8, x2: x + 8, y1: baseline - 11, y2: baseline + 1 }
            : { x1: x, x2: x + 16, y1: baseline - 4, y2: baseline - 4 };
          this.node(this.text, "line", { ...at, class: kind });
        } else {
          this.node(this.text, "rect", { x, y: baseline - 10, width: 16, height: 11, class: kind });
        }
        this.node(this.text, "text", { x: x + 21, y: baseline, class: "note" }, words);
        x += 21 + widthOf(words, 11) + 18;
      }
      this.y += 22;
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
        const x = this.x(gap.from);
        this.node(this.under, "rect", { ...all, x, width: Math.max(2, this.x(gap.to) - x), class: "gap-band" });
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

    drawLoad() {
      const load = this.data.load;
      if (!load) {
        this.head("Requests", [], "no request was recorded");
        return;
      }
      const bin = (t) => Math.floor((t - load.start) / load.width + 1e-9);
      const when = (i) => ["in", span(load.start + i * load.width, load.start + (i + 1) * load.width)];
      this.head("Requests per second", [["ok", "ok"], ["fail", "failed"], ["info", "nobody knows"]],
        `by the moment each was due, in bins of ${load.width} s`);
      const row = this.addRow(PLOT, "Requests per second", (t) => {
        const i = bin(t);
        if (i < 0 || i >= load.ok.length) return [["requests", "none were due"]];
        const rate = (n) => `${n} (${(n / load.width).toFixed(1)} /s)`;
        const lines = [when(i), ["ok", rate(load.ok[i])], ["failed", rate(load.fail[i])], ["nobody knows", rate(load.info[i])]];
        return load.errors[i] ? [...lines, ["mostly", load.errors[i]]] : lines;
      });
      this.drawStack(row, load);
      this.y += 6;
      for (const [kind, counts, words] of [["fail", load.fail, "failed"], ["info", load.info, "nobody knows"]]) {
        if (!counts.some(Boolean)) continue;
        const rug = this.addRow(14, words, row.read);
        this.node(this.text, "text", { x: this.left - 8, y: rug.y + 11, class: "tick", "text-anchor": "end" }, words);
        counts.forEach((count, i) => {
          if (!count) return;
          const x = this.x(load.start + i * load.width), end = this.x(load.start + (i + 1) * load.width);
          this.node(this.body, "rect", { x, y: rug.y + 4, width: Math.max(2, end - x), height: 7, class: kind + "-rug" });
        });
      }
      this.drawLatency(load, bin, when);
    }

    drawStack(row, load) {
      const sums = load.ok.map((n, i) => n + load.fail[i] + load.info[i]);
      const top = Math.max(...sums) / load.width || 1, step = niceStep(top, 3);
      const ceiling = Math.ceil(top / step) * step;
      const y = (rate) => row.y + row.height - (rate / ceiling) * (row.height - 4);
      for (let value = 0; value <= ceiling + 1e-9; value += step) this.rule(y(value), +value.toFixed(6) + (value ? " /s" : ""));
      let base = sums.map(() => 0);
      for (const kind of ["fail", "info", "ok"]) {
        const next = base.map((n, i) => n + load[kind][i]);
        let d = "";
        next.forEach((n, i) => {
          if (n === base[i]) return;
          const x = this.x(load.start + i * load.width), end = this.x(load.start + (i + 1) * load.width);
          d += `M${x.toFixed(1)} ${y(base[i] / load.width).toFixed(1)}V${y(n / load.width).toFixed(1)}H${(end + 0.2).toFixed(1)}V${y(base[i] / load.width).toFixed(1)}Z`;
        });
        if (d) this.node(this.body, "path", { d, class: kind });
        base = next;
      }
    }

    drawLatency(load, bin, when) {
      const known = [...load.p50, ...load.max].filter((ms) => ms !== null);
      if (!known.length) {
        this.head("Latency", [], "no request was answered");
        return;
      }
      this.head("Latency", [["p50", "median"], ["p99", "99 %"], ["max", "longest"]], "of ok requests, log scale");
      const row = this.addRow(PLOT, "Latency", (t) => {
        const i = bin(t);
        if (i < 0 || i >= load.ok.length) return [["latency", "no request was due"]];
        return [when(i), ["median", milliseconds(load.p50[i])], ["99 %", milliseconds(load.p99[i])], ["longest", milliseconds(load.max[i])]];
      });
      const low = Math.floor(Math.log10(Math.max(0.01, Math.min(...known)))), high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(0.01, ...known))));
      const y = (ms) => row.y + row.height - 2 - ((Math.log10(Math.max(ms, 10 ** low)) - low) / (high - low)) * (row.height - 6);
      for (let power = low; power <= high; power++) this.rule(y(10 ** power), power >= 3 ? 10 ** (power - 3) + " s" : +(10 ** power).toFixed(2) + " ms");
      for (const kind of ["max", "p99", "p50"]) {
        let d = "", drawn = false;
        load[kind].forEach((ms, i) => {
          if (ms === null) { drawn = false; return; }
          const x = this.x(load.start + i * load.width), end = this.x(load.start + (i + 1) * load.width);
          d += `${drawn ? "L" : "M"}${x.toFixed(1)} ${y(ms).toFixed(1)}H${end.toFixed(1)}`;
          drawn = true;
        });
        this.node(this.body, "path", { d, class: kind });
      }
    }

    rule(y, words) {
      this.node(this.under, "line", { x1: this.left, x2: this.right, y1: y, y2: y, class: "grid" });
      this.node(this.text, "text", { x: this.left - 8, y: y + 4, class: "tick", "text-anchor": "end" }, words);
    }

    drawLanes(title, lanes, kind, legend) {
      const left = this.data.omitted[kind];
      this.head(title, lanes.length ? legend : [], lanes.length ? (left ? `${left} more lanes are not drawn` : "") : "nothing was recorded");
      for (const lane of lanes) {
        const row = this.addRow(LANE, lane.label, (t) => this.readLane(lane, t));
        this.label(row, kind === "dns" ? lane.label.replace(/\.svc\.cluster\.local\.?$/, "") : lane.label, lane.label);
        const middle = row.y + LANE / 2;
        this.node(this.under, "line", { x1: this.left, x2: this.right, y1: middle, y2: middle, class: "lane-line" });
        let uid = null;
        lane.segments.forEach((segment, index) => {
          this.drawSegment(row, segment, lane.segments, index);
          const x = this.x(segment.from);
          if (segment.uid && uid && segment.uid !== uid) {
            this.node(this.body, "line", { x1: x, x2: x, y1: row.y + 1, y2: row.y + LANE - 1, class: "new-uid" });
          }
          uid = segment.uid || uid;
        });
        for (const moment of lane.moments) {
          const x = this.x(moment.at);
          this.node(this.body, "path", { d: `M${x} ${middle - 6}L${x + 6} ${middle}L${x} ${middle + 6}L${x - 6} ${middle}Z`, class: "moment" });
        }
      }
    }

    drawSegment(row, segment) {
      const from = Math.max(this.x(segment.from), this.left - 4), to = Math.min(this.x(segment.to), this.right + 4);
      if (to < this.left || from > this.right) return;
      this.node(this.body, "rect", { x: from, y: row.y + 4, width: Math.max(1.5, to - from), height: LANE - 8, class: "s-" + segment.state });
      const room = Math.min(to, this.right) - Math.max(from, this.left) - 12;
      const uid = (segment.uid || "").slice(0, 8), node = segment.node || "";
      const choices = segment.state === "answer" ? [segment.ip] : segment.state === "negative" ? [segment.rcode]
        : segment.state === "unanswered" ? [segment.error] : segment.state === "mixed" ? [`${segment.changes} changes`]
        : [[uid, node].filter(Boolean).join(" on "), uid, uid.slice(0, 4)];
      const words = choices.find((text) => text && widthOf(text, 11) <= room);
      if (!words) return;
      const kind = { ready: "on-ready", answer: "on-answer" }[segment.state] || "on-hatch";
      this.node(this.body, "text", { x: Math.max(from, this.left) + 6, y: row.y + LANE / 2 + 4, class: kind }, words);
    }

    readLane(lane, t) {
      const reach = ((this.view[1] - this.view[0]) / (this.right - this.left)) * 6;
      const moments = lane.moments.filter((m) => Math.abs(m.at - t) <= reach).map((m) => [seconds(m.at), m.text]);
      const one = lane.segments.find((s) => s.from <= t && t < s.to);
      if (!one) return [["", "nothing here"], ...moments];
      const facts = Object.entries(one).filter(([key]) => !["from", "to", "state"].includes(key));
      const state = one.state === "running" ? "running, not ready" : one.state;
      return [["state", state], ...facts, ["held", span(one.from, one.to)], ...moments];
    }

    drawEndpoints() {
      const all = this.data.endpoints, left = this.data.omitted.endpoints;
      this.head("Ready endpoints", [], all.length ? (left ? `${left} more services are not drawn` : "") : "nothing was recorded");
      for (const service of all) {
        const steps = service.steps, top = Math.max(1, ...steps.map((s) => s[1]));
        const at = (t) => (t > service.end ? undefined : steps.findLast((s) => s[0] <= t));
        const row = this.addRow(STEPS, service.label, (t) => {
          const step = at(t);
          return [["ready endpoints", step ? String(step[1]) : "not known"], ...(step ? [["since", seconds(step[0])]] : [])];
        });
        this.label(row, service.label);
        const y = (n) => row.y + STEPS - 6 - (n / top) * (STEPS - 14);
        this.rule(y(0), "0");
        this.rule(y(top), String(top));
        let d = `M${this.x(steps[0][0])} ${y(steps[0][1])}`;
        for (const [time, count] of steps.slice(1)) d += `H${this.x(time)}V${y(count)}`;
        d += `H${this.x(service.end)}`;
        this.node(this.body, "path", { d: `${d}V${y(0)}H${this.x(steps[0][0])}Z`, class: "steps-area" });
        this.node(this.body, "path", { d, class: "steps" });
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
      const gaps = this.data.gaps.filter((g) => g.from <= this.cursor && this.cursor <= g.to);
      const lines = [...row.read(this.cursor), ...gaps.map((g) => ["not seen", `${g.what}, ${span(g.from, g.to)}`])];
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

    drag() {
      let start = null, brush = null, view = null;
      const stop = () => { brush?.remove(); start = brush = view = null; };
      this.plot.addEventListener("pointerdown", (event) => {
        if (event.button || event.pointerType === "touch") return;
        start = this.at(event).x;
        view = event.shiftKey ? this.view.slice() : null;
        this.plot.setPointerCapture(event.pointerId);
      });
      this.plot.addEventListener("pointermove", (event) => {
        const { x, y, raw } = this.at(event);
        if (start !== null && view) {
          const by = ((start - x) / (this.right - this.left)) * (view[1] - view[0]);
          this.show(view[0] + by, view[1] + by);
        } else if (start !== null && Math.abs(x - start) > 4) {
          brush?.remove();
          brush = this.node(this.hand, "rect", { x: Math.min(x, start), y: 0, width: Math.abs(x - start), height: this.bottom, class: "brush" });
        }
        const row = this.rows.findIndex((r) => r.y <= y && y < r.y + r.height);
        this.cursor = row < 0 || raw < this.left ? null : this.t(x);
        if (row >= 0) this.row = row;
        this.drawCursor();
      });
      this.plot.addEventListener("pointerup", (event) => {
        const from = start, zooming = brush !== null && !view, end = this.at(event).x;
        stop();
        if (zooming) this.show(Math.min(this.t(from), this.t(end)), Math.max(this.t(from), this.t(end)));
      });
      this.plot.addEventListener("pointercancel", stop);
      this.plot.addEventListener("pointerleave", () => { this.cursor = null; this.drawCursor(); });
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

  document.querySelectorAll(".figure").forEach((root, number) => {
    root.figure = new Figure(root, number);
  });
})();
