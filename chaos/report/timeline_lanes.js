// Lanes: what was true of a node, a pod or a name; ready endpoints; Kubernetes' events.
const STATE_WORDS = { running: "running, not ready", "not-ready": "not ready" };
const RUN = 5;

class Lanes extends Panels {
  drawLanes(title, kind, legend, quiet = false) {
    const lanes = this.data[kind], left = this.data.omitted[kind];
    if (!lanes.length && quiet) return;
    this.head(title, lanes.length ? legend : [], lanes.length ? (left ? `${left} more lanes are not drawn` : "") : "nothing was recorded");
    this.part(kind, () => lanes.forEach((lane) => (kind === "events" ? this.drawEvents(lane) : this.drawLane(lane, kind))));
  }

  drawLane(lane, kind) {
    const rows = Math.max(0, ...(lane.runs || []).map((run) => run.row + 1));
    const row = this.addRow(LANE + (rows ? 2 + (rows - 1) * RUN : 0), lane.label, (t) => this.readLane(lane, t));
    const middle = row.y + LANE / 2 - (rows ? 2 : 0), tall = rows ? LANE - 10 : LANE - 8, top = middle - tall / 2;
    this.label(row, this.short(lane.label), lane.label);
    this.node(this.under, "line", { x1: this.left, x2: this.right, y1: middle, y2: middle, class: "lane-line" });
    this.drawSegments(lane.segments, top, tall);
    let uid = null;
    for (const segment of lane.segments) {
      const x = this.x(segment.from);
      if (segment.uid && uid && segment.uid !== uid) {
        this.node(this.body, "line", { x1: x, x2: x, y1: top - 3, y2: top + tall + 3, class: "new-uid" });
      }
      uid = segment.uid || uid;
      this.write(segment, middle);
    }
    for (const run of lane.runs || []) this.drawRun(run, top + tall + 3 + run.row * RUN);
    for (const moment of lane.moments) {
      const x = this.x(moment.at);
      this.node(this.body, "path", { d: `M${x} ${middle - 6}L${x + 6} ${middle}L${x} ${middle + 6}L${x - 6} ${middle}Z`, class: "moment" });
    }
  }

  /** One path for each state: a lane of many changes is a handful of elements. A slit parts two of the same state. */
  drawSegments(segments, top, tall) {
    const paths = {};
    let last = null;
    for (const segment of segments) {
      const from = Math.max(this.x(segment.from), this.left - 4), to = Math.min(this.x(segment.to), this.right + 4);
      const touches = last && last.to === segment.from && last.state === segment.state && to - from > 3;
      last = segment;
      if (to < this.left || from > this.right) continue;
      const start = (from + (touches ? 1.2 : 0)).toFixed(1);
      paths[segment.state] = (paths[segment.state] || "") + `M${start} ${top}H${Math.max(from + 1.5, to).toFixed(1)}V${top + tall}H${start}Z`;
    }
    for (const [state, d] of Object.entries(paths)) this.node(this.body, "path", { d, class: "s-" + state });
  }

  /** The longest words that fit into a segment: which UID on which node, which address. */
  write(segment, middle) {
    const from = Math.max(this.x(segment.from), this.left), to = Math.min(this.x(segment.to), this.right);
    const room = to - from - 12;
    if (room < 20) return;
    const uid = (segment.uid || "").slice(0, 8), node = this.short(segment.node || ""), said = Object.entries(segment)
      .filter(([key]) => !["from", "to", "state", "uid", "node"].includes(key)).map(([, text]) => text);
    const choices = segment.state === "mixed" ? [`${segment.changes} changes`]
      : uid ? [[uid, node].filter(Boolean).join(" on "), uid, uid.slice(0, 4)]
      : segment.state === "answer" || segment.state === "negative" || segment.state === "unanswered" ? [said.join(" "), said[0]]
      : segment.state === "ready" ? [] : [STATE_WORDS[segment.state] || segment.state];
    const words = choices.find((text) => text && widthOf(text, 11) <= room);
    if (!words) return;
    const kind = { ready: "on-ready", answer: "on-answer" }[segment.state] || "on-hatch";
    this.node(this.body, "text", { x: from + 6, y: middle + 4, class: kind }, words);
  }

  drawRun(run, y) {
    const from = Math.max(this.x(run.from), this.left - 4), to = Math.min(this.x(run.to), this.right + 4);
    if (to < this.left || from > this.right) return;
    this.node(this.body, "line", { x1: from, x2: Math.max(from + 1.5, to), y1: y, y2: y, class: "run" });
    if (run.begun) this.node(this.body, "line", { x1: from, x2: from, y1: y - 2.5, y2: y + 2.5, class: "run-end" });
    if (run.ended) this.node(this.body, "line", { x1: to, x2: to, y1: y - 2.5, y2: y + 2.5, class: "run-end" });
  }

  drawEvents(lane) {
    const row = this.addRow(LANE, lane.label + " events", (t) => {
      const near = this.near(lane.moments, t, 6);
      return near.length ? near.map((m) => [seconds(m.at), m.text]) : [["", "none here"]];
    });
    this.label(row, lane.label);
    const middle = row.y + LANE / 2;
    let d = "", last = -9;
    for (const moment of lane.moments) {
      const x = this.x(moment.at);
      if (x < this.left - 6 || x > this.right + 6 || x - last < 0.7) continue;
      last = x;
      d += lane.label === "Warning" ? `M${(x - 5).toFixed(1)} ${middle + 5}h10l-5 -10Z` : `M${(x - 1).toFixed(1)} ${middle - 6}h2v12h-2Z`;
    }
    this.node(this.under, "line", { x1: this.left, x2: this.right, y1: middle, y2: middle, class: "lane-line" });
    if (d) this.node(this.body, "path", { d, class: "event-" + lane.label.toLowerCase() });
  }

  /** Moments within a few pixels of a time; where there are many, the nearest ones and how many more. */
  near(moments, t, most) {
    const reach = ((this.view[1] - this.view[0]) / (this.right - this.left)) * 6;
    const found = moments.filter((m) => Math.abs(m.at - t) <= reach).sort((a, b) => Math.abs(a.at - t) - Math.abs(b.at - t));
    const shown = found.slice(0, most).sort((a, b) => a.at - b.at);
    return found.length > most ? [...shown, { at: t, text: `and ${found.length - most} more here; zoom in` }] : shown;
  }

  readLane(lane, t) {
    const moments = this.near(lane.moments, t, 4).map((m) => [seconds(m.at), m.text]);
    const runs = (lane.runs || []).filter((run) => run.from <= t && t <= run.to).map((run) => ["ran on the node",
      `${run.container} on ${this.short(run.node)}, ${span(run.from, run.to)}${run.begun ? "" : ", ran before"}` +
      `${run.ended ? `, exit ${run.exit ?? "status not known"}` : ", not seen to end"}, ±${run.error_ms} ms`]);
    const one = lane.segments.find((s) => s.from <= t && t < s.to);
    if (!one) return [["", "nothing here"], ...runs, ...moments];
    const facts = Object.entries(one).filter(([key]) => !["from", "to", "state"].includes(key));
    return [["state", STATE_WORDS[one.state] || one.state], ...facts, ["held", span(one.from, one.to)], ...runs, ...moments];
  }

  drawEndpoints() {
    const all = this.data.endpoints, left = this.data.omitted.endpoints;
    this.head("Ready endpoints", [], all.length ? (left ? `${left} more services are not drawn` : "") : "nothing was recorded");
    this.part("endpoints", () => all.forEach((service) => this.drawSteps(service)));
  }

  drawSteps(service) {
    const steps = service.steps, top = Math.max(1, ...steps.map((s) => s[1]));
    const at = (t) => (t > service.end ? undefined : steps.findLast((s) => s[0] <= t));
    const row = this.addRow(STEPS, service.label, (t) => {
      const step = at(t);
      if (!step) return [["ready endpoints", "not known"]];
      return [["ready endpoints", String(step[1])], ["which", step[2] || "none"], ["since", seconds(step[0])]];
    });
    this.label(row, service.label);
    const y = (n) => row.y + STEPS - 6 - (n / top) * (STEPS - 14);
    this.rule(y(0), "0");
    this.rule(y(top), String(top));
    let d = `M${this.x(steps[0][0])} ${y(steps[0][1])}`;
    for (const [time, count] of steps.slice(1)) d += `H${this.x(time).toFixed(1)}V${y(count).toFixed(1)}`;
    d += `H${this.x(service.end)}`;
    this.node(this.body, "path", { d: `${d}V${y(0)}H${this.x(steps[0][0])}Z`, class: "steps-area" });
    this.node(this.body, "path", { d, class: "steps" });
  }
}
