// The panels: requests, latency, lanes of pods and names, ready endpoints.
class Panels extends Frame {
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
}
