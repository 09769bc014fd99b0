"use strict";
(() => {
  const data = JSON.parse(document.getElementById("page-data").textContent);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const SVG = "http://www.w3.org/2000/svg";

  // Colours: system, light, dark. A file opened from disk may have no storage.
  const store = {
    get() { try { return localStorage.getItem("pulmonet-theme"); } catch { return null; } },
    set(value) { try { localStorage.setItem("pulmonet-theme", value); } catch { /* kept for this visit only */ } },
  };
  const theme = document.getElementById("theme");
  const themes = ["system", "light", "dark"];
  const paint = (name) => {
    if (name === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    theme.textContent = `Theme: ${name}`;
    theme.setAttribute("aria-label", `Colours: ${name}. Press to change.`);
  };
  let chosen = themes.includes(store.get()) ? store.get() : "system";
  paint(chosen);
  theme.addEventListener("click", () => {
    chosen = themes[(themes.indexOf(chosen) + 1) % themes.length];
    store.set(chosen);
    paint(chosen);
  });

  // Contents: mark the section in view.
  const links = all(".contents a");
  if ("IntersectionObserver" in window) {
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        for (const link of links) {
          const here = link.hash === `#${entry.target.id}`;
          link.classList.toggle("here", here);
          if (here) link.setAttribute("aria-current", "location");
          else link.removeAttribute("aria-current");
        }
      }
    }, { rootMargin: "-15% 0px -75% 0px" });
    all("main > section").forEach((section) => seen.observe(section));
  }

  // Tables: a press on a heading sorts; numbers by value, words by alphabet.
  for (const table of all("table.sortable")) {
    const heads = all("thead th", table);
    heads.forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const numeric = head.classList.contains("num");
        const previous = head.getAttribute("aria-sort");
        const direction = previous === "none" ? (numeric ? "descending" : "ascending")
          : previous === "ascending" ? "descending" : "ascending";
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", direction);
        const sign = direction === "ascending" ? 1 : -1;
        const body = table.tBodies[0];
        const rows = [...body.rows].map((row) => {
          const cell = row.cells[column];
          const number = cell.dataset.sort === undefined ? null : Number(cell.dataset.sort);
          return { row, number, text: cell.textContent.trim() };
        });
        rows.sort((a, b) => {
          if (a.number !== null && b.number !== null) return sign * (a.number - b.number);
          if (a.number !== null || b.number !== null) return a.number !== null ? -1 : 1;
          return sign * a.text.localeCompare(b.text, "en", { numeric: true });
        });
        body.append(...rows.map((item) => item.row));
      });
    });
  }

  // Charts: a cursor with values, for pointer and arrow keys.
  for (const figure of all("[data-chart]")) {
    const chart = data.charts[figure.dataset.chart];
    if (!chart) continue;
    const svg = figure.querySelector("svg");
    const cursor = figure.querySelector(".cursor");
    const at = figure.querySelector(".at");
    const outputs = all(".legend output", figure);
    const [left, right] = chart.frame;
    const [low, high] = chart.x;
    const steps = chart.whole ? chart.series[0].x : Array.from({ length: 101 }, (_, i) => low + (high - low) * i / 100);
    let place = -1;
    const nearest = (xs, x) => {
      let best = 0;
      for (let i = 1; i < xs.length; i += 1) if (Math.abs(xs[i] - x) < Math.abs(xs[best] - x)) best = i;
      return best;
    };
    const show = (index) => {
      place = Math.max(0, Math.min(steps.length - 1, index));
      const x = steps[place];
      const px = left + (x - low) / (high - low) * (right - left);
      cursor.removeAttribute("hidden");
      cursor.setAttribute("transform", `translate(${px.toFixed(1)} 0)`);
      at.textContent = `${chart.xName}: ${chart.whole ? x : x.toFixed(2)}`;
      chart.series.forEach((series, i) => {
        const y = series.y[nearest(series.x, x)];
        outputs[i].textContent = y === null ? "–" : y.toFixed(3);
      });
    };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const px = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
      show(nearest(steps, low + (px - left) / (right - left) * (high - low)));
    });
    svg.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 }[event.key];
      if (move !== undefined) show(place < 0 ? 0 : place + move);
      else if (event.key === "Home") show(0);
      else if (event.key === "End") show(steps.length - 1);
      else return;
      event.preventDefault();
    });
  }

  // Viewer: X-ray below, heat map above.
  for (const viewer of all("[data-viewer]")) {
    const pick = (selector) => viewer.querySelector(selector);
    const [grey, select, chips, opacity, percent, verdict] =
      [".grey", ".exhibit", ".chips", ".opacity", ".percent", ".verdict"].map(pick);
    let heat = pick(".heat");
    if (!heat) {
      heat = document.createElement("img");
      heat.className = "heat";
      pick(".stage").append(heat);
    }
    let label = null;
    const draw = () => {
      const exhibit = data.exhibits[Number(select.value)];
      const map = exhibit.maps.find((item) => item.label === label) || exhibit.maps[0];
      label = map.label;
      grey.src = exhibit.grey;
      grey.alt = `X-ray ${exhibit.image}`;
      heat.hidden = map.png === null;
      if (map.png !== null) heat.src = map.png;
      heat.alt = `Heat map of ${map.label}`;
      const words = [];
      if (map.score !== null) words.push(`${map.label}: score ${map.score.toFixed(3)}`);
      else words.push(map.label);
      if (map.verdict) words.push(map.verdict);
      if (map.png === null) words.push("no map drawn");
      else if (map.empty) words.push("the map is empty: nothing in the image raised this score");
      if (map.target !== null) words.push(Number(map.target) === 1 ? "reference standard: positive" : "reference standard: negative");
      verdict.textContent = `${words.join("; ")}.`;
    };
    const offer = () => {
      const exhibit = data.exhibits[Number(select.value)];
      if (!exhibit.maps.some((item) => item.label === label)) {
        const present = exhibit.maps.find((item) => item.present && !item.empty);
        label = (present || exhibit.maps[0]).label;
      }
      chips.replaceChildren(...exhibit.maps.map((map) => {
        const box = document.createElement("label");
        const input = document.createElement("input");
        input.type = "radio";
        input.name = "viewer-label";
        input.value = map.label;
        input.checked = map.label === label;
        input.addEventListener("change", () => { label = map.label; draw(); });
        const name = document.createElement("span");
        name.textContent = map.label;
        box.append(input, name);
        return box;
      }));
      draw();
    };
    const fade = () => {
      heat.style.opacity = String(opacity.value / 100);
      percent.textContent = `${opacity.value} %`;
    };
    select.addEventListener("change", offer);
    opacity.addEventListener("input", fade);
    offer();
    fade();
  }

  // Thresholds: counts above a threshold, and what follows from them.
  for (const box of all("[data-thresholds]")) {
    const pick = (selector) => box.querySelector(selector);
    const [run, label, slider, value, prevalence, stored, plot, sentence] =
      [".run", ".label", ".threshold", ".value", ".prevalence", ".stored", ".plot", ".sentence"].map(pick);
    const option = (text, index) => { const item = document.createElement("option"); item.textContent = text; item.value = String(index); return item; };
    const nameOf = (steps) => `${steps.run} · ${steps.dataset}, ${steps.split}`;
    const groups = [...new Set(data.thresholds.map(nameOf))];
    run.replaceChildren(...groups.map(option));
    let item = null;
    let threshold = 0.5;
    let low = 0;
    let high = 1;
    const wilson = (k, n) => {
      if (n === 0) return null;
      const z = 1.959964, p = k / n, d = 1 + z * z / n;
      const middle = (p + z * z / (2 * n)) / d;
      const half = z * Math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / d;
      return [p, Math.max(0, middle - half), Math.min(1, middle + half)];
    };
    const share = (x) => `${(100 * x).toFixed(1)} %`;
    const set = (name, main, small) => {
      const cell = pick(`.${name}`);
      const detail = document.createElement("small");
      detail.textContent = small;
      cell.replaceChildren(main, detail);
    };
    const counts = () => {
      let i = 0;
      let j = item.thresholds.length;
      while (i < j) { const middle = (i + j) >> 1; if (item.thresholds[middle] < threshold - 1e-9) i = middle + 1; else j = middle; }
      return i < item.thresholds.length ? [item.true_positives[i], item.false_positives[i]] : [0, 0];
    };
    const element = (name, attributes) => {
      const node = document.createElementNS(SVG, name);
      for (const [key, content] of Object.entries(attributes)) node.setAttribute(key, content);
      return node;
    };
    const drawPlot = () => {
      const bins = 40;
      const pos = new Array(bins).fill(0);
      const neg = new Array(bins).fill(0);
      item.thresholds.forEach((t, i) => {
        const bin = Math.min(bins - 1, Math.floor((t - low) / (high - low) * bins));
        pos[bin] += item.true_positives[i] - (i + 1 < item.thresholds.length ? item.true_positives[i + 1] : 0);
        neg[bin] += item.false_positives[i] - (i + 1 < item.thresholds.length ? item.false_positives[i + 1] : 0);
      });
      const svg = element("svg", { viewBox: "0 0 800 136" });
      const top = Math.max(...pos.map((n) => n / item.n_positives), ...neg.map((n) => n / item.n_negatives));
      for (let i = 0; i < bins; i += 1) {
        const up = 58 * pos[i] / item.n_positives / top;
        const down = 58 * neg[i] / item.n_negatives / top;
        svg.append(element("rect", { class: "pos", x: 20 * i + 1, width: 18, y: 66 - up, height: up }));
        svg.append(element("rect", { class: "neg", x: 20 * i + 1, width: 18, y: 68, height: down }));
      }
      svg.append(element("line", { class: "at", x1: 0, x2: 0, y1: 0, y2: 132 }));
      const words = document.createElement("p");
      words.className = "small";
      words.textContent = `Scores from ${low.toFixed(2)} to ${high.toFixed(2)}: images with the finding above the line, without it below.`;
      plot.replaceChildren(svg, words);
    };
    const update = () => {
      const [tp, fp] = counts();
      const fn = item.n_positives - tp;
      const tn = item.n_negatives - fp;
      const sens = wilson(tp, item.n_positives);
      const spec = wilson(tn, item.n_negatives);
      const ci = (x) => `${(100 * x[1]).toFixed(0)}–${(100 * x[2]).toFixed(0)} %`;
      set("sens", share(sens[0]), `${tp} of ${item.n_positives}; ${ci(sens)}`);
      set("spec", share(spec[0]), `${tn} of ${item.n_negatives}; ${ci(spec)}`);
      const p = prevalence.value.trim() === "" ? NaN : Number(prevalence.value) / 100;
      const usable = p > 0 && p < 1;
      const at = usable ? `at ${(100 * p).toFixed(1)} % prevalence` : "enter a prevalence between 0 and 100 %";
      const called = sens[0] * p + (1 - spec[0]) * (1 - p);
      const ppv = usable && called > 0 ? sens[0] * p / called : null;
      const npv = usable && called < 1 ? spec[0] * (1 - p) / (1 - called) : null;
      set("ppv", ppv === null ? "–" : share(ppv), at);
      set("npv", npv === null ? "–" : share(npv), at);
      value.textContent = threshold.toFixed(3);
      slider.setAttribute("aria-valuetext", threshold.toFixed(3));
      sentence.textContent = !usable ? "" : `Of 1,000 images, ${Math.round(1000 * called)} would be called positive, ${Math.round(1000 * sens[0] * p)} of them rightly; ${Math.round(1000 * (1 - sens[0]) * p)} with the finding would be missed.`;
      const line = plot.querySelector(".at");
      const x = String(800 * (threshold - low) / (high - low));
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
    };
    const move = (t) => {
      threshold = Math.min(high, Math.max(low, t));
      slider.value = String(Math.round(1000 * (threshold - low) / (high - low)));
      update();
    };
    const choose = () => {
      const inGroup = data.thresholds.filter((each) => nameOf(each) === groups[Number(run.value)]);
      item = inGroup[Number(label.value)] || inGroup[0];
      // The slider spans the scores there are, from "all positive" to "none positive".
      const first = item.thresholds[0];
      const last = item.thresholds[item.thresholds.length - 1];
      low = Math.max(0, first - 0.01 * (last - first) - 1e-6);
      high = Math.min(1.000001, last + 0.01 * (last - first) + 1e-6);
      prevalence.value = (100 * item.n_positives / (item.n_positives + item.n_negatives)).toFixed(1);
      stored.replaceChildren(...item.stored.map(([name, t]) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = `${name}: ${t.toFixed(3)}`;
        button.addEventListener("click", () => move(t));
        return button;
      }));
      drawPlot();
      move(item.stored.length ? item.stored[0][1] : 0.5);
    };
    const offer = () => {
      const inGroup = data.thresholds.filter((each) => nameOf(each) === groups[Number(run.value)]);
      label.replaceChildren(...inGroup.map((each, i) => option(each.label, i)));
      choose();
    };
    run.addEventListener("change", offer);
    label.addEventListener("change", choose);
    prevalence.addEventListener("input", update);
    slider.addEventListener("input", () => { threshold = low + (high - low) * Number(slider.value) / 1000; update(); });
    offer();
  }

  // A link into a folded part opens it; paper shows everything.
  const open = () => {
    const target = location.hash.length > 1 ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
    for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  };
  window.addEventListener("hashchange", open);
  open();
  window.addEventListener("beforeprint", () => all("details").forEach((item) => { item.open = true; }));
})();
