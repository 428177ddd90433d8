// Figures: data of the page (report/figures.py) drawn as SVG with axes that zoom.
"use strict";
(() => {
  const DATA = JSON.parse(document.getElementById("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const PX = 1.5; // pixels per printed point
  const FONT = 11;
  const DOUBLE = 300; // milliseconds in which a second click may come
  const PAPER = 360; // pixels of a panel on paper
  const NEAR = 16; // pixels from a point at which it answers
  const NEAR_LINE = 7;
  const STEP = 1.35; // of one click of the wheel
  const DEEPEST = 5000; // times
  let ids = 0;
  let lastScroll = -1e9;
  window.addEventListener("scroll", () => { lastScroll = performance.now(); }, {passive: true});

  function make(name, attributes, parent, text) {
    const node = name.startsWith("svg:") ? document.createElementNS(SVG, name.slice(4)) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) if (value !== null && value !== undefined) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  }

  // Numbers

  const round = (value, digits) => Number(value.toPrecision(digits));
  function shown(value) {
    if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en-US");
    return String(round(value, 4));
  }
  function tick(value, axis) {
    if (axis.ticks && axis.ticks.includes(value)) return String(round(value, 6));
    for (const [size, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) if (Math.abs(value) >= size) return round(value / size, 5) + letter;
    return Math.abs(value) < 1e-12 ? "0" : String(round(value, 5));
  }

  // Axes: values are placed by their logarithm where the axis is logarithmic

  const forth = (axis, value) => axis.scale === "log" ? (value > 0 ? Math.log10(value) : -Infinity) : value;
  const back = (axis, place) => axis.scale === "log" ? 10 ** place : place;

  function evenly(low, high, most) {
    const rough = (high - low) / Math.max(1, most);
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map(m => m * power).find(s => s >= rough * 0.999);
    const out = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) out.push(round(i * step, 12));
    return out;
  }
  function ticks(axis, [low, high], pixels, each) {
    const most = Math.max(2, Math.floor(pixels / each));
    const inside = values => values.filter(value => { const p = forth(axis, value); return p >= low - 1e-9 && p <= high + 1e-9; });
    if (axis.ticks && (inside(axis.ticks).length > 1 || !axis.ticks.length)) return inside(axis.ticks);
    if (axis.scale !== "log") return evenly(low, high, most);
    const base = axis.base === 2 ? 2 : 10, unit = Math.log10(base);
    const whole = [];
    for (let i = Math.floor(low / unit) - 1; i <= Math.ceil(high / unit); i++) whole.push(i);
    let best = [];
    for (const steps of base === 2 ? [[1]] : [[1], [1, 3], [1, 2, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9]]) {
      const found = inside(whole.flatMap(i => steps.map(s => s * base ** i))), places = found.map(value => forth(axis, value));
      const crowded = places.some((place, i) => i && (place - places[i - 1]) / (high - low) * pixels < 0.6 * each);
      if (found.length <= most && !crowded) best = found;
    }
    if (best.length < 2) {
      const ones = inside(whole.map(i => base ** i));
      if (ones.length > most) best = ones.filter((_, i) => i % Math.ceil(ones.length / most) === 0);
    }
    return best.length > 1 ? best : inside(evenly(10 ** low, 10 ** high, most).filter(value => value > 0));
  }

  // Markers and legends

  function drawMark(look, outlines, x, y, parent, defs) {
    const size = look.size * PX;
    let fill = look.face;
    if (look.half) {
      const id = "half" + ++ids, shade = make("svg:linearGradient", {id}, defs);
      for (const [offset, color] of [[0, look.color], [0.5, look.color], [0.5, "#ffffff"], [1, "#ffffff"]]) make("svg:stop", {offset, "stop-color": color}, shade);
      fill = `url(#${id})`;
    }
    const paint = {fill, stroke: look.edge, "stroke-width": look.edgeWidth * PX, class: "point"};
    if (look.marker === "o") return make("svg:circle", {cx: x, cy: y, r: size / 2, ...paint}, parent);
    const d = outlines[look.marker].map(([u, v], i) => `${i ? "L" : "M"}${(x + u * size).toFixed(2)} ${(y - v * size).toFixed(2)}`).join("") + "Z";
    return make("svg:path", {d, ...paint}, parent);
  }

  // an entry that names marks of the panels shows and hides them
  function legend(entries, outlines, panels, parent) {
    if (!entries.length) return;
    const list = make("ul", {class: "legend"}, parent);
    for (const entry of entries) {
      const own = panels.filter(panel => panel.panel.marks.some(mark => mark.name === entry.name)), item = make("li", {}, list);
      const holder = own.length ? make("button", {type: "button", "aria-pressed": "true", title: "show or hide"}, item) : make("span", {}, item);
      if (entry.marker || entry.width) {
        const icon = make("svg:svg", {width: 26, height: 12, viewBox: "0 0 26 12", "aria-hidden": "true"}, holder);
        if (entry.width) make("svg:path", {d: "M1 6H25", stroke: entry.color, "stroke-width": entry.width * PX, "stroke-dasharray": entry.dash || null}, icon);
        if (entry.marker) drawMark(entry, outlines, 13, 6, icon, icon);
      }
      make("span", {}, holder, entry.name);
      if (own.length) holder.addEventListener("click", () => {
        const show = holder.getAttribute("aria-pressed") === "false";
        holder.setAttribute("aria-pressed", String(show));
        for (const panel of own) { panel.hidden[show ? "delete" : "add"](entry.name); panel.draw(); }
      });
    }
  }

  // A panel

  class Panel {
    constructor(panel, outlines, box, alone) {
      Object.assign(this, {panel, outlines, box, hidden: new Set(), picked: -1});
      this.home = {x: panel.x.ends.map(v => forth(panel.x, v)), y: panel.y.ends.map(v => forth(panel.y, v))};
      this.view = {x: [...this.home.x], y: [...this.home.y]};
      const head = make("div", {class: "panel-head"}, box);
      make("h3", {}, head, panel.title || (alone ? "" : panel.y.label + " against " + panel.x.label)); // alone it has the figure's caption
      const tools = make("span", {class: "tools"}, head);
      for (const [sign, words, act] of [["+", "zoom in", () => this.zoom(1.6)], ["−", "zoom out", () => this.zoom(1 / 1.6)], ["reset", "show all", () => this.reset()]])
        make("button", {type: "button", "aria-label": words, title: words}, tools, sign).addEventListener("click", act);
      this.svg = make("svg:svg", {class: "plot", tabindex: 0, role: "img", "aria-label": `${panel.title || panel.y.label}: ${panel.y.label} against ${panel.x.label}. `
        + "Arrow keys walk through the points, plus and minus zoom, 0 shows all."}, box);
      this.tip = make("div", {class: "tip", role: "status", hidden: ""}, box);
      legend(panel.legend, outlines, [this], box);
      this.listen();
      new ResizeObserver(() => { if (Math.abs(box.clientWidth - (this.drawn || 0)) > 1) this.draw(); }).observe(box);
    }

    // Places

    at(which, value) {
      const [low, high] = this.view[which], part = (forth(this.panel[which], value) - low) / (high - low);
      return which === "x" ? this.left + part * this.width : this.top + (1 - part) * this.height;
    }
    place(mark, i) {
      const x = mark.xIn === "axes" ? this.left + mark.x[i] * this.width : this.at("x", mark.x[i]);
      const y = mark.yIn === "axes" ? this.top + (1 - mark.y[i]) * this.height : this.at("y", mark.y[i]);
      return [x, y];
    }
    value(which, pixel) {
      const [low, high] = this.view[which];
      const part = which === "x" ? (pixel - this.left) / this.width : 1 - (pixel - this.top) / this.height;
      return back(this.panel[which], low + part * (high - low));
    }
    within([x, y], slack = 0.5) {
      return x >= this.left - slack && x <= this.left + this.width + slack && y >= this.top - slack && y <= this.top + this.height + slack;
    }

    // Drawing

    draw(total = Math.max(240, Math.round(this.box.clientWidth))) {
      const {panel, svg} = this;
      this.drawn = this.box.clientWidth;
      svg.replaceChildren();
      const outside = panel.marks.filter(m => m.kind === "text" && m.xIn === "data" && m.ha === "left" && !m.along
        && forth(panel.x, m.x) > this.home.x[1] - 0.02 * (this.home.x[1] - this.home.x[0]));
      this.left = panel.axes ? 58 : 8;
      this.top = 6;
      this.width = total - this.left - Math.max(14, ...outside.map(m => 10 + 6.2 * Math.max(...m.text.map(t => t.length))));
      // a panel as wide as the page is flatter, so that all of it is seen at once
      const shape = this.width > 600 ? Math.max(2.1, panel.aspect) : Math.min(1.75, Math.max(1.05, panel.aspect));
      this.height = Math.round(this.width / shape);
      const bottom = panel.axes ? 40 : 8;
      svg.setAttribute("viewBox", `0 0 ${total} ${this.top + this.height + bottom}`);
      const clip = "clip" + ++ids;
      this.defs = make("svg:defs", {}, svg);
      make("svg:rect", {x: this.left, y: this.top, width: this.width, height: this.height}, make("svg:clipPath", {id: clip}, this.defs));
      if (panel.axes) this.axes();
      const layer = make("svg:g", {"clip-path": `url(#${clip})`}, svg), above = make("svg:g", {}, svg);
      this.points = [];
      this.lines = [];
      for (const mark of panel.marks) if (!this.hidden.has(mark.name)) this[mark.kind](mark, layer, above);
      this.points.sort((a, b) => a.at[0] - b.at[0]);
      this.ring = make("svg:circle", {r: 8, class: "ring", visibility: "hidden"}, svg);
      this.lasso = make("svg:rect", {class: "lasso", visibility: "hidden"}, svg);
      if (this.picked >= 0) this.pick(Math.min(this.picked, this.points.length - 1));
      const same = (a, b) => a.every((v, i) => Math.abs(v - b[i]) < 1e-9);
      this.box.classList.toggle("zoomed", !(same(this.view.x, this.home.x) && same(this.view.y, this.home.y)));
    }

    axes() {
      const {panel, svg, left, top, width, height} = this, base = top + height;
      const group = make("svg:g", {class: "axes"}, svg);
      make("svg:path", {d: `M${left} ${top}V${base}H${left + width}`, class: "frame"}, group);
      for (const value of ticks(panel.x, this.view.x, width, 52)) {
        const x = this.at("x", value);
        make("svg:path", {d: `M${x} ${base}v4`, class: "frame"}, group);
        make("svg:text", {x, y: base + 16, "text-anchor": "middle", class: "tick x"}, group, tick(value, panel.x));
      }
      for (const value of ticks(panel.y, this.view.y, height, 34)) {
        const y = this.at("y", value);
        make("svg:path", {d: `M${left} ${y}h-4`, class: "frame"}, group);
        make("svg:text", {x: left - 7, y: y + 4, "text-anchor": "end", class: "tick y"}, group, tick(value, panel.y));
      }
      this.label(panel.x.label, left + width / 2, base + 33, width, 0, group);
      this.label(panel.y.label, 13, top + height / 2, height, -90, group);
    }
    label(text, x, y, room, turn, group) {
      const wide = text.length * 5.9;
      const node = make("svg:text", {x, y, "text-anchor": "middle", transform: turn ? `rotate(${turn} ${x} ${y})` : null, class: "label"}, group, text);
      if (wide > room) Object.entries({textLength: room, lengthAdjust: "spacingAndGlyphs"}).forEach(([k, v]) => node.setAttribute(k, v));
    }

    line(mark, layer) {
      const places = mark.x.map((_, i) => this.place(mark, i)), good = places.map(p => p.every(Number.isFinite));
      if (mark.width !== undefined) {
        let d = "", pen = "M";
        places.forEach(([x, y], i) => { if (good[i]) { d += `${pen}${x.toFixed(2)} ${y.toFixed(2)}`; pen = "L"; } else pen = "M"; });
        make("svg:path", {d, fill: "none", stroke: mark.color, "stroke-width": mark.width * PX, "stroke-dasharray": mark.dash || null, "stroke-opacity": mark.opacity}, layer);
        if (mark.name) this.lines.push({mark, places: places.filter((_, i) => good[i])});
      }
      if (!mark.marker) return;
      places.forEach((at, i) => {
        if (!good[i] || !this.within(at)) return;
        const node = drawMark(mark, this.outlines, at[0], at[1], layer, this.defs);
        const run = mark.runs && mark.runs[i] || "";
        if (run) node.setAttribute("data-run", run);
        this.points.push({at, mark, run, name: mark.names && mark.names[i] || "", x: mark.x[i], y: mark.y[i]});
      });
    }
    area(mark, layer) {
      for (const part of mark.parts) {
        const d = part.map(([x, y], i) => `${i ? "L" : "M"}${this.at("x", x).toFixed(2)} ${Math.min(1e5, this.at("y", y)).toFixed(2)}`).join("") + "Z";
        make("svg:path", {d, fill: mark.color, "fill-opacity": mark.opacity}, layer);
      }
    }
    segments(mark, layer) {
      for (const part of mark.parts) {
        const d = part.map(([x, y], i) => `${i ? "L" : "M"}${this.at("x", x).toFixed(2)} ${this.at("y", y).toFixed(2)}`).join("");
        make("svg:path", {d, fill: "none", stroke: mark.color, "stroke-width": mark.width * PX}, layer);
      }
    }
    arrow(mark, layer) {
      const [[x0, y0], [x1, y1]] = [this.place(mark, 0), this.place(mark, 1)];
      const long = Math.hypot(x1 - x0, y1 - y0) || 1, [u, v] = [(x1 - x0) / long, (y1 - y0) / long];
      make("svg:path", {d: `M${x0} ${y0}L${x1} ${y1}M${x1 - 5 * u - 3 * v} ${y1 - 5 * v + 3 * u}L${x1} ${y1}L${x1 - 5 * u + 3 * v} ${y1 - 5 * v - 3 * u}`,
        fill: "none", stroke: mark.color, "stroke-width": 1.2}, layer);
    }
    text(mark, layer, above) {
      let [x, y] = this.place({...mark, x: [mark.x], y: [mark.y]}, 0);
      if (!this.within([x, y], 2)) return;
      [x, y] = [x + mark.dx * PX, y - mark.dy * PX];
      const size = mark.size * PX > FONT ? FONT : mark.size * PX, lead = 1.25 * size;
      const first = {top: 0.8 * size, bottom: -0.25 * size, center: 0.35 * size, center_baseline: 0.35 * size, baseline: 0}[mark.va] - (
        mark.va === "bottom" || mark.va === "baseline" ? lead * (mark.text.length - 1) : mark.va === "center" ? lead * (mark.text.length - 1) / 2 : 0);
      let turn = null;
      if (mark.along) {
        const across = mark.along[0] * this.width / (this.view.x[1] - this.view.x[0]), up = mark.along[1] * this.height / (this.view.y[1] - this.view.y[0]);
        turn = `rotate(${(-Math.atan2(up, across) * 180 / Math.PI).toFixed(2)} ${x.toFixed(2)} ${y.toFixed(2)})`;
      }
      const node = make("svg:text", {"text-anchor": {left: "start", center: "middle", right: "end"}[mark.ha], "font-size": size, fill: mark.color, transform: turn,
        class: mark.halo || mark.xIn === "axes" ? "note halo" : "note"}, above);
      mark.text.forEach((words, i) => make("svg:tspan", {x: x.toFixed(2), y: (y + first + i * lead).toFixed(2)}, node, words));
    }

    // Zooming

    set(view) {
      for (const which of ["x", "y"]) {
        const home = this.home[which], width = home[1] - home[0];
        let [low, high] = view[which];
        if (high - low < width / DEEPEST) return;
        if (high - low >= width * 0.999) [low, high] = home;
        view[which] = [low, high];
      }
      this.view = view;
      this.hide();
      cancelAnimationFrame(this.frame);
      this.frame = requestAnimationFrame(() => this.draw());
    }
    reset() { this.set({x: [...this.home.x], y: [...this.home.y]}); }
    zoom(factor, fx = 0.5, fy = 0.5) {
      const cut = ([low, high], part, home) => {
        const width = Math.min((high - low) / factor, home[1] - home[0]), middle = low + part * (high - low);
        let start = middle - part * width;
        if (factor < 1) start = Math.min(Math.max(start, home[0]), home[1] - width); // outwards never beyond all
        return [start, start + width];
      };
      this.set({x: cut(this.view.x, fx, this.home.x), y: cut(this.view.y, fy, this.home.y)});
    }
    pan(across, up) {
      const moved = ([low, high], part) => [low + part * (high - low), high + part * (high - low)];
      this.set({x: moved(this.view.x, across), y: moved(this.view.y, up)});
    }
    zoomed() { return this.box.classList.contains("zoomed"); }

    // What is under the pointer

    local(event) {
      const box = this.svg.getBoundingClientRect(), k = this.svg.viewBox.baseVal.width / box.width;
      return [(event.clientX - box.left) * k, (event.clientY - box.top) * k];
    }
    nearest([x, y]) {
      let best = null, least = NEAR;
      this.points.forEach((point, i) => {
        const far = Math.hypot(point.at[0] - x, point.at[1] - y);
        if (far < least) [best, least] = [i, far];
      });
      return best;
    }
    nearestLine([x, y]) {
      let best = null, least = NEAR_LINE;
      for (const line of this.lines) {
        for (let i = 1; i < line.places.length; i++) {
          const [a, b] = [line.places[i - 1], line.places[i]], [u, v] = [b[0] - a[0], b[1] - a[1]];
          const part = Math.min(1, Math.max(0, ((x - a[0]) * u + (y - a[1]) * v) / (u * u + v * v || 1)));
          const at = [a[0] + part * u, a[1] + part * v], far = Math.hypot(at[0] - x, at[1] - y);
          if (far < least && this.within(at)) [best, least] = [{at, name: line.mark.name}, far];
        }
      }
      return best;
    }
    pick(i) {
      if (i === null || i < 0 || !this.points[i]) return;
      this.picked = i;
      const point = this.points[i], title = point.run ? DATA.runs[point.run] || point.run : point.name || point.mark.name;
      this.show(point.at, [title, title.includes(point.mark.name) ? "" : point.mark.name,
        `${this.panel.x.label || "x"}: ${shown(point.x)}`, `${this.panel.y.label || "y"}: ${shown(point.y)}`]);
    }
    show([x, y], lines) {
      this.ring.setAttribute("cx", x);
      this.ring.setAttribute("cy", y);
      this.ring.setAttribute("visibility", "visible");
      this.tip.replaceChildren();
      lines.filter(Boolean).forEach((words, i) => make(i ? "div" : "strong", {}, this.tip, words));
      this.tip.hidden = false;
      const plot = this.svg.getBoundingClientRect(), around = this.box.getBoundingClientRect(), k = plot.width / this.svg.viewBox.baseVal.width;
      const [px, py] = [x * k + plot.left - around.left, y * k + plot.top - around.top];
      const wide = this.tip.offsetWidth, high = this.tip.offsetHeight;
      this.tip.style.left = Math.max(0, Math.min(px + 12, this.box.clientWidth - wide)) + "px";
      this.tip.style.top = (py - high - 12 < 0 ? py + 14 : py - high - 12) + "px";
    }
    hide() {
      this.tip.hidden = true;
      this.picked = -1;
      if (this.ring) this.ring.setAttribute("visibility", "hidden");
    }

    listen() {
      const {svg} = this;
      let start = null;
      svg.addEventListener("pointerdown", event => {
        if (event.pointerType === "touch" || event.button !== 0) return;
        start = {at: this.local(event), view: structuredClone(this.view), pan: event.shiftKey, moved: false};
        svg.setPointerCapture(event.pointerId);
      });
      svg.addEventListener("pointermove", event => {
        const at = this.local(event);
        if (!start) {
          const i = this.nearest(at), line = i === null ? this.nearestLine(at) : null;
          if (i !== null) this.pick(i);
          else if (line) this.show(line.at, [line.name, `${this.panel.x.label || "x"}: ${shown(this.value("x", line.at[0]))}`, `${this.panel.y.label || "y"}: ${shown(this.value("y", line.at[1]))}`]);
          else if (document.activeElement !== svg || this.picked < 0) this.hide();
          svg.classList.toggle("over-run", i !== null && Boolean(this.points[i].run));
          return;
        }
        if (Math.hypot(at[0] - start.at[0], at[1] - start.at[1]) > 4) start.moved = true;
        if (!start.moved) return;
        if (start.pan) {
          const shift = (which, pixels, size) => start.view[which].map(v => v + pixels / size * (start.view[which][1] - start.view[which][0]));
          this.set({x: shift("x", start.at[0] - at[0], this.width), y: shift("y", at[1] - start.at[1], this.height)});
          return;
        }
        const box = this.chosen(start.at, at);
        Object.entries({x: box[0], y: box[2], width: box[1] - box[0], height: box[3] - box[2], visibility: "visible"}).forEach(([k, v]) => this.lasso.setAttribute(k, v));
      });
      svg.addEventListener("pointerup", event => {
        if (!start) return;
        const done = start, at = this.local(event);
        start = null;
        this.lasso.setAttribute("visibility", "hidden");
        if (!done.moved) {
          const i = this.nearest(at), run = i !== null && this.points[i].run;
          clearTimeout(this.clicked);
          if (run) this.clicked = setTimeout(() => window.dispatchEvent(new CustomEvent("show-run", {detail: run})), DOUBLE);
        } else if (!done.pan) {
          const [x0, x1, y0, y1] = this.chosen(done.at, at);
          const place = (which, pixel) => forth(this.panel[which], this.value(which, pixel));
          this.set({x: [place("x", x0), place("x", x1)], y: [place("y", y1), place("y", y0)]});
        }
      });
      svg.addEventListener("pointercancel", () => { start = null; this.lasso.setAttribute("visibility", "hidden"); });
      svg.addEventListener("pointerleave", () => { if (!start) this.hide(); });
      svg.addEventListener("blur", () => this.hide());
      svg.addEventListener("dblclick", () => { clearTimeout(this.clicked); this.reset(); });
      svg.addEventListener("wheel", event => {
        // a scroll that began outside a figure goes on past it; one that begins here zooms
        if (performance.now() - lastScroll < 400 && !event.ctrlKey) return;
        if (event.deltaY > 0 && !this.zoomed() || !event.deltaY) return;
        event.preventDefault();
        const [x, y] = this.local(event);
        const part = (v, from, size) => Math.min(1, Math.max(0, (v - from) / size));
        this.zoom(STEP ** Math.max(-3, Math.min(3, -event.deltaY / 100)), part(x, this.left, this.width), 1 - part(y, this.top, this.height));
      }, {passive: false});
      svg.addEventListener("keydown", event => {
        const act = {"+": () => this.zoom(1.6), "=": () => this.zoom(1.6), "-": () => this.zoom(1 / 1.6), "0": () => this.reset(), Escape: () => this.reset(),
          ArrowRight: () => event.shiftKey ? this.pan(0.1, 0) : this.pick(Math.min(this.picked + 1, this.points.length - 1)),
          ArrowLeft: () => event.shiftKey ? this.pan(-0.1, 0) : this.pick(Math.max(this.picked - 1, 0)),
          ArrowUp: () => event.shiftKey && this.pan(0, 0.1), ArrowDown: () => event.shiftKey && this.pan(0, -0.1),
          Enter: () => { const p = this.points[this.picked]; if (p && p.run) window.dispatchEvent(new CustomEvent("show-run", {detail: p.run})); }}[event.key];
        if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
        if (act() !== false) event.preventDefault();
      });
    }
    // [x0, x1, y0, y1] of a drag, all of an axis along which it hardly went
    chosen(a, b) {
      const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
      let [x0, x1] = [a[0], b[0]].map(v => clamp(v, this.left, this.left + this.width)).sort((p, q) => p - q);
      let [y0, y1] = [a[1], b[1]].map(v => clamp(v, this.top, this.top + this.height)).sort((p, q) => p - q);
      if (x1 - x0 < 10) [x0, x1] = [this.left, this.left + this.width];
      if (y1 - y0 < 10) [y0, y1] = [this.top, this.top + this.height];
      return [x0, x1, y0, y1];
    }
  }

  const all = [];
  for (const box of document.querySelectorAll("figure[data-figure]")) {
    const data = DATA.figures[box.dataset.figure], holder = box.querySelector(".panels");
    holder.classList.toggle("one", data.panels.length === 1);
    const panels = data.panels.map(panel => new Panel(panel, data.markers, make("div", {class: "panel"}, holder), data.panels.length === 1));
    legend(data.legend, data.markers, panels, box);
    panels.forEach(panel => panel.draw());
    all.push(...panels);
  }
  // type on paper is not scaled down from a wide screen
  const fills = panel => {
    const figure = panel.box.closest("figure"), beside = figure.closest(".figures") && !figure.matches(":last-child:nth-child(odd)");
    return panel.box.closest(".panels.one") && !beside;
  };
  window.addEventListener("beforeprint", () => all.forEach(panel => panel.draw(fills(panel) ? 2 * PAPER : PAPER)));
  window.addEventListener("afterprint", () => all.forEach(panel => panel.draw()));
})();
