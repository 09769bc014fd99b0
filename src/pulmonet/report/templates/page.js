"use strict";
(() => {
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

  // A table that is wider than the screen says what is out of sight.
  const cues = [];
  for (const box of all(".table-block > .scroll")) {
    const cue = box.parentElement.querySelector(".cue");
    const look = () => {
      const edge = box.getBoundingClientRect().right;
      const hidden = all("thead th", box).filter((head) => head.getBoundingClientRect().right > edge + 4);
      const left = box.scrollLeft > 4;
      box.classList.toggle("more-right", hidden.length > 0);
      box.classList.toggle("more-left", left);
      cue.hidden = !hidden.length && !left;
      cue.textContent = hidden.length
        ? `${hidden.length} more ${hidden.length === 1 ? "column" : "columns"} to the right → scroll or swipe the table`
        : "← columns to the left";
    };
    box.addEventListener("scroll", look, { passive: true });
    cues.push(look);
    look();
  }
  const lookAtAll = () => cues.forEach((look) => look());
  window.addEventListener("resize", lookAtAll);
  all("details").forEach((item) => item.addEventListener("toggle", lookAtAll));

  // A finding that is chosen in one place is shown in the others, but where all are shown.
  const followers = [];
  const follow = (name, own) => followers.forEach((show) => { if (show !== own && name !== undefined) show(name); });

  // Charts of many findings: one's at a time.
  for (const choice of all("[data-choice]")) {
    const select = choice.querySelector(".finding");
    const options = all(".option", choice);
    const names = options.map((option) => option.getAttribute("aria-label"));
    // the tables below speak of the same finding
    const tables = all(":scope > .table-block table", choice.parentElement)
      .map((table) => [table, [...table.tBodies[0].rows]])
      .filter(([, rows]) => rows.every((row) => names.includes(row.cells[0].textContent.trim())));
    const draw = () => {
      const name = names[select.selectedIndex];
      options.forEach((option, i) => { option.hidden = name !== undefined && names[i] !== name; });
      choice.classList.toggle("one", name !== undefined);
      for (const [table, rows] of tables) {
        rows.forEach((row) => { row.hidden = name !== undefined && row.cells[0].textContent.trim() !== name; });
        table.querySelector(".of").textContent = name === undefined ? "" : `: ${name}`;
      }
    };
    const whole = () => { const before = select.selectedIndex; select.selectedIndex = names.length; draw(); select.selectedIndex = before; };
    select.parentElement.hidden = false;
    const show = (name) => {
      const place = names.indexOf(name);
      if (place < 0 || names[select.selectedIndex] === undefined) return;
      select.selectedIndex = place;
      draw();
    };
    followers.push(show);
    select.addEventListener("change", () => { draw(); follow(names[select.selectedIndex], show); });
    window.addEventListener("beforeprint", whole);
    window.addEventListener("afterprint", draw);
    draw();
  }

  // Charts: a cursor with values, for pointer and arrow keys.
  for (const figure of all("[data-chart]")) {
    const chart = JSON.parse(figure.dataset.chart);
    const svg = figure.querySelector("svg");
    const cursor = figure.querySelector(".cursor");
    const at = figure.querySelector(".at");
    const outputs = all(".legend output", figure);
    const [left, right] = chart.frame;
    const [low, high] = chart.x;
    const steps = chart.whole && chart.series.length ? chart.series[0].x : Array.from({ length: 101 }, (_, i) => low + (high - low) * i / 100);
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
        const y = series.x.length ? series.y[nearest(series.x, x)] : null;
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

  // Viewer: X-rays with heat maps of one or two runs or methods; what was wrong, and where the score came from.
  for (const viewer of all("[data-viewer]")) {
    const pick = (selector) => viewer.querySelector(selector);
    const { greys, exhibits } = JSON.parse(pick(".exhibits").textContent);
    const wayOf = (one) => (one.method ? `${one.run} · ${one.method}` : one.run);
    const nOf = (way) => exhibits.filter((one) => wayOf(one) === way).length;
    // the best run comes first, and of each run the method that explained most images
    const rankOf = (way) => exhibits.findIndex((one) => one.run === exhibits.find((each) => wayOf(each) === way).run);
    const ways = [...new Set(exhibits.map(wayOf))].sort((a, b) => rankOf(a) - rankOf(b) || nOf(b) - nOf(a));
    const images = [...new Set(exhibits.map((one) => one.image))];
    const find = (image, way) => exhibits.find((one) => one.image === image && wayOf(one) === way);
    const mapOf = (image, way, label) => find(image, way)?.maps.find((map) => map.label === label);
    const [select, chips, opacity, byVerdict, byError] = [".exhibit", ".chips", ".opacity", ".by-verdict", ".by-error"].map(pick);
    const panes = [".left", ".right"].map((name) => {
      const pane = pick(name);
      const [way, box, stage, verdict] = [".way", ".stage-box", ".stage", ".verdict"].map((each) => pane.querySelector(each));
      const [grey, heat] = ["grey", "heat"].map((kind) => {
        const picture = document.createElement("img");
        picture.className = kind;
        picture.alt = "";
        picture.draggable = false;
        stage.append(picture);
        return picture;
      });
      return { pane, way, box, stage, verdict, grey, heat };
    });
    const options = (choices) => choices.map(([value, text]) => {
      const option = document.createElement("option");
      option.value = value;
      option.textContent = text;
      return option;
    });
    const verdictOf = (map) => (map.present === null ? "none" : map.present ? "above" : "below");
    const errorOf = (map) => {
      if (map.present === null || map.target === null) return "open";
      if (map.present === (Number(map.target) === 1)) return "right";
      return map.present ? "alarm" : "missed";
    };
    const marks = { open: "", right: " ✓", missed: " ✗ missed", alarm: " ✗ false alarm" };
    let label = null;
    let image = images[0];
    let shown = images;

    // Zoom and place are the same in both pictures.
    let scale = 1;
    let at = [0, 0];
    const zoom = (to, by = [0, 0]) => {
      scale = Math.min(8, Math.max(1, to));
      const room = (scale - 1) / 2;
      at = at.map((x, i) => Math.min(room, Math.max(-room, x + by[i])));
      for (const { stage } of panes) stage.style.transform = `translate(${100 * at[0]}%, ${100 * at[1]}%) scale(${scale})`;
      pick(".scale").textContent = `${Math.round(100 * scale)} %`;
      viewer.classList.toggle("zoomed", scale > 1);
    };

    const sentences = (map) => {
      const words = [];
      const [score, threshold] = [map.score.toFixed(3), map.threshold === null ? "" : ` of ${map.threshold.toFixed(3)}`];
      if (map.present === null) words.push(`${map.label}: score ${score}, ${map.verdict}`);
      else words.push(`${map.label}: score ${score}, ${map.verdict.replace("threshold", `threshold${threshold}`)}`);
      if (map.target !== null) words.push(`Reference standard: ${Number(map.target) === 1 ? "positive" : "negative"}`);
      const wrong = { missed: "a finding that was missed (false negative)", alarm: "a false alarm (false positive)" }[errorOf(map)];
      if (wrong) {
        const by = Math.abs(map.score - map.threshold);
        words.push(`Wrong: ${wrong}, by ${by < 0.001 ? "less than 0.001" : by.toFixed(3)} of score`);
      } else if (errorOf(map) === "right") words.push("Right");
      if (map.png === null) words.push(`No map is drawn${map.present === false ? " below the threshold" : ""}`);
      else if (map.empty) words.push("The map is empty: nothing in the image raised this score");
      else {
        const third = (x, names) => names[Math.min(2, Math.floor(3 * x))];
        const place = `${third(map.peak_y, ["top", "middle", "bottom"])} ${third(map.peak_x, ["left", "centre", "right"])}`;
        words.push(`What raised the score most lies at the ${place} of the picture`);
      }
      return `${words.join(". ")}.`;
    };
    const draw = () => {
      panes.forEach(({ pane, way, box, verdict, grey, heat }, i) => {
        const exhibit = way.value === "" ? null : find(image, way.value);
        const map = exhibit && mapOf(image, way.value, label);
        box.hidden = verdict.hidden = i === 1 && way.value === "";
        pane.dataset.error = map ? errorOf(map) : "open";
        grey.hidden = !exhibit;
        heat.hidden = !map || map.png === null;
        if (exhibit) grey.src = greys[exhibit.grey];
        grey.alt = exhibit ? `X-ray ${image}` : "";
        if (!heat.hidden) heat.src = map.png;
        heat.alt = heat.hidden ? "" : `Heat map of ${label}`;
        verdict.textContent = map ? sentences(map) : exhibit ? `${label}: not explained here.` : `${way.value} did not explain this image.`;
      });
      const place = shown.indexOf(image);
      pick(".place").textContent = place < 0 ? "" : `${place + 1} of ${shown.length}`;
      pick(".previous").disabled = place <= 0;
      pick(".next").disabled = place < 0 || place === shown.length - 1;
    };
    const filter = () => {
      const way = panes[0].way.value;
      const known = images.map((one) => [one, mapOf(one, way, label)]).filter(([, map]) => map);
      const count = (of, value) => known.filter(([, map]) => of(map) === value).length;
      const [missed, alarms, right, open] = ["missed", "alarm", "right", "open"].map((kind) => count(errorOf, kind));
      const keep = (box, names, of) => {
        const before = box.value || "all";
        box.replaceChildren(...options(names.map(([value, text]) => [value, `${text} (${value === "all" ? known.length : value === "wrong" ? missed + alarms : count(of, value)})`])));
        box.value = before;
      };
      keep(byVerdict, [["all", "any verdict"], ["above", "above the threshold"], ["below", "below the threshold"], ["none", "no verdict"]], verdictOf);
      keep(byError, [["all", "right or wrong"], ["wrong", "wrong"], ["missed", "wrong: missed"], ["alarm", "wrong: false alarm"], ["right", "right"], ["open", "cannot be told"]], errorOf);
      const fits = (value, found) => value === "all" || value === found || (value === "wrong" && (found === "missed" || found === "alarm"));
      const kept = known.filter(([, map]) => fits(byVerdict.value, verdictOf(map)) && fits(byError.value, errorOf(map)));
      shown = kept.map(([one]) => one);
      if (shown.length && !shown.includes(image)) [image] = shown;
      select.replaceChildren(...options(kept.map(([one, map]) => [one, `${one}${marks[errorOf(map)]}`])));
      select.value = image;
      select.disabled = !shown.length;
      pick(".none").hidden = shown.length > 0;
      pick(".panes").hidden = !shown.length;
      const wrong = known.filter(([, map]) => ["missed", "alarm"].includes(errorOf(map)));
      wrong.sort(([, a], [, b]) => Math.abs(b.score - b.threshold) - Math.abs(a.score - a.threshold));
      pick(".wrongs").replaceChildren(...wrong.slice(0, 12).map(([one, map]) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = `${one}${marks[errorOf(map)]}`;
        button.addEventListener("click", () => { byVerdict.value = byError.value = "all"; image = one; filter(); });
        return button;
      }));
      const judged = right + missed + alarms;
      const what = judged ? `${missed + alarms} wrong (${missed} missed, ${alarms} false ${alarms === 1 ? "alarm" : "alarms"}), ${right} right` : "none can be called right or wrong";
      const rest = open && judged ? `, ${open} without a verdict or reference standard` : "";
      pick(".tally").textContent = `${label}, ${way}: of ${known.length} explained ${known.length === 1 ? "image" : "images"} ${what}${rest}.`;
      draw();
    };
    const labelsOf = () => [...new Set(exhibits.filter((one) => wayOf(one) === panes[0].way.value).flatMap((one) => one.maps.map((map) => map.label)))];
    const offer = () => {
      const way = panes[0].way.value;
      const labels = labelsOf();
      const wrongs = (one) => images.filter((each) => ["missed", "alarm"].includes(errorOf(mapOf(each, way, one) || { present: null }))).length;
      const drawn = (one) => images.some((each) => mapOf(each, way, one)?.present && !mapOf(each, way, one).empty);
      if (!labels.includes(label)) label = labels.reduce((best, one) => (wrongs(one) > wrongs(best) ? one : best), labels.find(drawn) || labels[0]);
      chips.replaceChildren(...labels.map((name) => {
        const box = document.createElement("label");
        const input = document.createElement("input");
        input.type = "radio";
        input.name = "viewer-label";
        input.value = name;
        input.checked = name === label;
        input.addEventListener("change", () => { label = name; filter(); follow(name, show); });
        const text = document.createElement("span");
        text.textContent = name;
        box.append(input, text);
        return box;
      }));
      const other = panes[1].way;
      const beside = other.value;
      other.replaceChildren(...options([["", "nothing"], ...ways.filter((one) => one !== way).map((one) => [one, one])]));
      other.value = beside === way ? "" : beside;
      panes[1].pane.hidden = ways.length < 2;
      filter();
    };
    const show = (name) => { if (labelsOf().includes(name)) { label = name; offer(); } };
    followers.push(show);
    const step = (by) => {
      const place = Math.min(shown.length - 1, Math.max(0, shown.indexOf(image) + by));
      if (!shown.length) return;
      image = shown[place];
      select.value = image;
      draw();
    };
    const fade = () => {
      panes.forEach(({ heat }) => { heat.style.opacity = String(opacity.value / 100); });
      pick(".percent").textContent = `${opacity.value} %`;
    };
    panes[0].way.replaceChildren(...options(ways.map((one) => [one, one])));
    panes[0].way.addEventListener("change", offer);
    panes[1].way.addEventListener("change", draw);
    select.addEventListener("change", () => { image = select.value; draw(); });
    byVerdict.addEventListener("change", filter);
    byError.addEventListener("change", filter);
    opacity.addEventListener("input", fade);
    pick(".previous").addEventListener("click", () => step(-1));
    pick(".next").addEventListener("click", () => step(1));
    pick(".zoom-in").addEventListener("click", () => zoom(scale * 1.5));
    pick(".zoom-out").addEventListener("click", () => zoom(scale / 1.5));
    pick(".whole").addEventListener("click", () => zoom(1));
    for (const { box } of panes) {
      box.addEventListener("dblclick", () => zoom(scale > 1 ? 1 : 3));
      box.addEventListener("pointermove", (event) => {
        if (event.buttons === 1 && scale > 1) zoom(scale, [event.movementX / box.clientWidth, event.movementY / box.clientHeight]);
      });
      box.addEventListener("keydown", (event) => {
        const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
        if (way && event.shiftKey) zoom(scale, way.map((x) => -0.15 * x));
        else if (way && way[0]) step(way[0]);
        else if (event.key === "+" || event.key === "=") zoom(scale * 1.5);
        else if (event.key === "-") zoom(scale / 1.5);
        else if (event.key === "0") zoom(1);
        else return;
        event.preventDefault();
      });
    }
    offer();
    pick(".wrongs button")?.click(); // the worst comes first
    fade();
    zoom(1);
  }

  // Thresholds: counts above a threshold, and what follows from them.
  for (const box of all("[data-thresholds]")) {
    const pick = (selector) => box.querySelector(selector);
    const steps = JSON.parse(pick(".steps").textContent);
    const [run, label, slider, value, typed, prevalence, stored, plot, standing, sentence] =
      [".run", ".label", ".threshold", ".value", ".typed", ".prevalence", ".stored", ".plot", ".standing", ".sentence"].map(pick);
    // What cannot be is refused where it is typed, and the last usable value stays.
    const refuse = (field, words) => {
      field.setAttribute("aria-invalid", String(words !== ""));
      document.getElementById(field.getAttribute("aria-describedby")).textContent = words;
      return words !== "";
    };
    const option = (text, index) => { const item = document.createElement("option"); item.textContent = text; item.value = String(index); return item; };
    const nameOf = (one) => `${one.run} · ${one.dataset}, ${one.split}`;
    const groups = [...new Set(steps.map(nameOf))];
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
      refuse(prevalence, usable ? "" : "Enter a prevalence above 0 and below 100 %.");
      const at = usable ? `at ${(100 * p).toFixed(1)} % prevalence` : "no usable prevalence";
      const called = sens[0] * p + (1 - spec[0]) * (1 - p);
      const ppv = usable && called > 0 ? sens[0] * p / called : null;
      const npv = usable && called < 1 ? spec[0] * (1 - p) / (1 - called) : null;
      set("ppv", ppv === null ? "–" : share(ppv), at);
      set("npv", npv === null ? "–" : share(npv), at);
      value.textContent = threshold.toFixed(3);
      const here = item.stored.filter(([, t]) => Math.abs(t - threshold) < 5e-4 * Math.min(1, high - low));
      const found = `${item.run} finds ${tp} of ${item.n_positives} images with ${item.label} (sensitivity ${share(sens[0])}) and clears ${tn} of ${item.n_negatives} without it (specificity ${share(spec[0])})`;
      const names = here.map(([name]) => name).join("; ");
      const fitted = here.find(([, , estimates]) => estimates === "procedure");
      standing.textContent = !here.length ? `Not a stored threshold: ${found}.`
        : fitted ? `The stored threshold (${names}), chosen on these rows: there ${found}. In patients who did not choose it: sensitivity ${fitted[3]}, specificity ${fitted[4]}.`
        : `The stored threshold (${names}), not chosen on these rows: ${found}.`;
      slider.setAttribute("aria-valuetext", threshold.toFixed(3));
      sentence.textContent = !usable ? "" : `Of 1,000 images, ${Math.round(1000 * called)} would be called positive, ${Math.round(1000 * sens[0] * p)} of them rightly; ${Math.round(1000 * (1 - sens[0]) * p)} with the finding would be missed.`;
      const line = plot.querySelector(".at");
      const x = String(800 * Math.min(1, Math.max(0, (threshold - low) / (high - low))));
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
    };
    const move = (t) => {
      threshold = Math.min(high, Math.max(low, t));
      slider.value = String(Math.round(1000 * (threshold - low) / (high - low)));
      typed.value = threshold.toFixed(3);
      refuse(typed, "");
      update();
    };
    const choose = () => {
      const inGroup = steps.filter((each) => nameOf(each) === groups[Number(run.value)]);
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
      const inGroup = steps.filter((each) => nameOf(each) === groups[Number(run.value)]);
      label.replaceChildren(...inGroup.map((each, i) => option(each.label, i)));
      choose();
    };
    const show = (name) => {
      const place = [...label.options].findIndex((each) => each.textContent === name);
      if (place < 0) return;
      label.selectedIndex = place;
      choose();
    };
    followers.push(show);
    run.addEventListener("change", offer);
    label.addEventListener("change", () => { choose(); follow(item.label, show); });
    prevalence.addEventListener("input", update);
    slider.addEventListener("input", () => {
      threshold = low + (high - low) * Number(slider.value) / 1000;
      typed.value = threshold.toFixed(3);
      refuse(typed, "");
      update();
    });
    typed.addEventListener("input", () => {
      const t = typed.value.trim() === "" ? NaN : Number(typed.value);
      if (refuse(typed, t >= 0 && t <= 1 ? "" : "Enter a score between 0 and 1.")) return;
      threshold = t;
      slider.value = String(Math.round(1000 * Math.min(1, Math.max(0, (t - low) / (high - low)))));
      update();
    });
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
