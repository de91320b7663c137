// The panels of the load: requests, errors, latency.
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
    this.drawErrors(load, row.read);
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

  /** The share of requests that were not answered; however small, it is seen. */
  drawErrors(load, read) {
    const sums = load.ok.map((n, i) => n + load.fail[i] + load.info[i]);
    const shares = sums.map((n, i) => (n ? (load.fail[i] + load.info[i]) / n : 0));
    const most = Math.max(...shares);
    if (!most) {
      this.head("Error ratio", [], "every request was answered");
      return;
    }
    this.head("Error ratio", [["fail", "failed"], ["info", "nobody knows"]], "of the requests due in each bin");
    const row = this.addRow(STEPS, "Error ratio", read);
    const step = niceStep(Math.max(most, 0.02), 2), ceiling = Math.min(1, Math.ceil(most / step) * step);
    const height = (share) => (share / ceiling) * (row.height - 4), floor = row.y + row.height;
    for (const share of [0, ceiling]) this.rule(floor - height(share), +(share * 100).toFixed(2) + " %");
    const paths = { fail: "", info: "" };
    sums.forEach((n, i) => {
      const x = this.x(load.start + i * load.width), end = this.x(load.start + (i + 1) * load.width);
      let base = floor;
      for (const kind of ["fail", "info"]) {
        if (!load[kind][i]) continue;
        const tall = Math.max(3, height(load[kind][i] / n));
        paths[kind] += `M${x.toFixed(1)} ${base.toFixed(1)}v${-tall.toFixed(1)}h${Math.max(2, end - x + 0.2).toFixed(1)}v${tall.toFixed(1)}Z`;
        base -= tall;
      }
    });
    for (const kind of ["fail", "info"]) if (paths[kind]) this.node(this.body, "path", { d: paths[kind], class: kind });
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
}
