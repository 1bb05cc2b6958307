// Arranges the page of `dvc plots`: sections in the order of the report, charts as wide as their cards, light and dark.
// DVC writes one div for each plot; those of charts call vegaEmbed('#id', spec). Templates say in usermeta.darkroom where a chart
// belongs. Only textContent is set, since names come from the data.
(() => {
  "use strict";
  const drawWithVega = window.vegaEmbed;
  const specs = new Map();
  window.vegaEmbed = (selector, spec) => specs.set(selector.slice(1), spec);

  const SECTIONS = {
    headline: "Headline", curves: "Curves", confusion: "Confusion", per_class: "Per class", reliability: "Reliability",
    mistakes: "Mistakes", data: "Data", search: "Search", more: "Further plots",
  };
  const IMAGES = {
    "metrics/evaluate/images/mistakes.png": ["mistakes", "Most confident mistakes", "All of them are in metrics/evaluate/mistakes.csv."],
    "metrics/evaluate/images/samples.png": ["mistakes", "Predictions for some test images"],
    "metrics/train/augmented.png": ["data", "Training images as augmented"],
    "metrics/split/images/samples.png": ["data", "Images of every class"],
    "metrics/split/images/duplicates.png": ["data", "Duplicates"],
  };
  // Ids of older commits, whose definitions have DVC's own template.
  const CURVES = ["loss", "accuracy", "f1_macro", "learning_rate"];
  // The colours of the templates, by the variables of the style that take their places.
  const COLOURS = {
    "#ffffff": "--card", "#1b2330": "--ink", "#5b6675": "--soft", "#dfe3e9": "--rule", "#9aa3af": "--rest",
    "#0072b2": "--c0", "#c77700": "--c1", "#00805d": "--c2",
  };
  const METRICS = { f1_macro: "macro F1", balanced_accuracy: "balanced accuracy", ece: "ECE", top5_accuracy: "top-5 accuracy" };
  const MAX_CLASSES = 30, MAX_PAIRS = 20, WORST = 40, NARROW = 480, COLUMN = 420;

  const make = (name, text, className) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  };
  const colour = (variable) => getComputedStyle(document.documentElement).getPropertyValue(variable).trim();
  const rowsOf = (spec) => spec.data?.values ?? [];
  const unique = (values) => [...new Set(values)];
  const copy = (value) => JSON.parse(JSON.stringify(value));
  const metaOf = (spec) => spec.usermeta?.darkroom ?? {};
  const withoutRevision = (row) => JSON.stringify({ ...row, rev: null });

  // ---- what is shown ----

  function revisionsOf(cards) {
    return unique(cards.flatMap((card) => (card.spec ? rowsOf(card.spec).map((row) => row.rev) : card.images.map((image) => image.rev))));
  }

  function readCards(main) {
    return [...main.children].map((element) => {
      const spec = specs.get(element.id);
      if (spec) {
        const section = metaOf(spec).section ?? (CURVES.includes(element.id) ? "curves" : "more");
        return { id: element.id, spec, section, title: spec.title?.text ?? element.id, note: metaOf(spec).note };
      }
      const path = element.querySelector("p")?.textContent ?? "";
      const [section, title, note] = IMAGES[path] ?? ["more", path];
      const images = [...element.querySelectorAll("img")].map((image) => ({ rev: image.parentElement.querySelector("p").textContent, image }));
      return { id: element.id, section, title, note, path, images };
    });
  }

  // A chart without rows, or a histogram in which everything is in one bar, says nothing.
  function saysNothing(card) {
    if (!card.spec) return card.images.length === 0;
    const rows = rowsOf(card.spec);
    if (!metaOf(card.spec).bins) return rows.length === 0;
    const used = rows.filter((row) => ["train", "val", "test", "left_out"].some((split) => Number(row[split]) > 0));
    return unique(used.map((row) => row.place)).length < 2;
  }

  // ---- charts ----

  // Replace the templates' colours by those of the theme, and DVC's colours of revisions by the page's, the same in all charts.
  function themed(value, revisions) {
    if (Array.isArray(value)) return value.map((each) => themed(each, revisions));
    if (value && typeof value === "object") {
      const result = {};
      for (const [key, each] of Object.entries(value)) result[key] = key === "values" ? each : themed(each, revisions);
      if (result.field === "rev" && result.scale?.domain) result.scale = { domain: revisions, range: revisions.map((_, place) => revisionColour(place)) };
      return result;
    }
    return typeof value === "string" && COLOURS[value] ? colour(COLOURS[value]) : value;
  }

  const revisionColour = (place) => colour(`--c${place % 8}`);

  // The revisions whose rows are the same, in groups.
  function equalRevisions(rows) {
    const groups = new Map();
    for (const rev of unique(rows.map((row) => row.rev))) {
      const text = rows.filter((row) => row.rev === rev).map(withoutRevision).join();
      groups.set(text, [...(groups.get(text) ?? []), rev]);
    }
    return [...groups.values()];
  }

  // Of equal lines each stays visible: the first is the widest and lies below the others.
  function setWidths(spec, groups) {
    const wide = groups.flatMap((group) => group.map((rev, place) => [rev, Math.min(2 + 4 * (group.length - 1 - place), 14)]));
    const condition = wide.map(([rev, width]) => ({ test: `datum.rev === ${JSON.stringify(rev)}`, value: width }));
    for (const layer of spec.layer ?? []) {
      setWidths(layer, groups);
      if (layer.encoding?.strokeWidth?.field === "rev") layer.encoding.strokeWidth = { condition, value: 2 };
    }
  }

  function configuration() {
    const [ink, soft, rule] = ["--ink", "--soft", "--rule"].map(colour);
    const text = { labelColor: ink, titleColor: soft, titleFontWeight: "normal", labelFontSize: 11, titleFontSize: 12 };
    return {
      background: "transparent", font: "system-ui, sans-serif", view: { stroke: rule }, text: { color: ink },
      axis: { ...text, gridColor: rule, domainColor: soft, tickColor: soft }, header: text,
      legend: { ...text, orient: "bottom", columns: innerWidth < NARROW ? 1 : 3 }, title: { color: ink },
    };
  }

  function withoutLegends(value) {
    if (!value || typeof value !== "object") return;
    for (const [key, each] of Object.entries(value)) {
      if (key === "data") continue;
      if (each?.field && ["color", "size", "strokeDash"].includes(key)) each.legend = null;
      else withoutLegends(each);
    }
  }

  // The specification of one chart, without title and legends, which are text of the page.
  function prepared(spec, rows, revisions, width) {
    const { facet, spec: inner, title, ...outer } = copy({ ...spec, data: null });
    const result = themed({ ...outer, ...inner }, revisions);
    result.data = { name: "cells", values: rows };
    if (metaOf(spec).section) withoutLegends(result);
    setWidths(result, equalRevisions(rows));
    if (typeof result.width === "number" || metaOf(spec).bins || facet) result.width = "container";
    if (metaOf(spec).section === "confusion") sizeCells(result, rows, width);
    if (metaOf(spec).section === "per_class") startAtUsefulValue(result, rows);
    if (result.height?.step) result.height = heightOf(result, rows);
    result.config = { ...result.config, ...configuration() };
    return result;
  }

  // Pixels of a chart with a row for each class: a number, since Vega-Lite does not fit a width beside a step.
  function heightOf(spec, rows) {
    const count = (field) => unique(rows.map((row) => row[field])).length;
    const classes = count(spec.encoding.y.field in rows[0] ? spec.encoding.y.field : "class");
    return classes * (spec.encoding.yOffset ? spec.height.step * count("rev") + 4 : spec.height.step);
  }

  // From the tenth below the lowest score: from 0 all good scores would look alike.
  function startAtUsefulValue(spec, rows) {
    const lowest = Math.min(...rows.filter((row) => row.f1 !== "").map((row) => Number(row.f1)));
    spec.encoding.x.scale = { domain: [Math.min(0.9, Math.floor(10 * lowest) / 10), 1] };
  }

  function sizeCells(spec, rows, width) {
    const longest = Math.max(...rows.map((row) => String(row.actual ?? "").length));
    const labels = Math.min(140, 7 * longest) + 40;
    const number = Number(rows[0].num_classes);
    const step = Math.max(6, Math.min(48, (width - labels) / number));
    if (longest <= 3) spec.encoding.x.axis.labelAngle = 0;
    spec.params = spec.params.map((param) => (param.name === "step" ? { name: "step", value: step } : param));
    spec.width = spec.height = step * number;
  }

  // Beyond MAX_CLASSES a matrix cannot be read: bars of the most confused pairs take its place.
  function pairsOfClasses(spec, revisions) {
    const mistakes = rowsOf(spec).filter((row) => row.actual !== row.predicted && Number(row.count) > 0)
      .map((row) => ({ rev: row.rev, pair: `${row.actual} → ${row.predicted}`, images: Number(row.count) }));
    const pairs = unique([...mistakes].sort((a, b) => b.images - a.images).map((row) => row.pair)).slice(0, MAX_PAIRS);
    const values = mistakes.filter((row) => pairs.includes(row.pair));
    return {
      ...copy({ $schema: spec.$schema }), usermeta: { darkroom: { section: "confusion_pairs" } }, data: { values }, width: "container",
      height: { step: revisions.length > 1 ? 12 : 18 }, mark: "bar",
      encoding: {
        x: { field: "images", type: "quantitative", axis: { tickMinStep: 1 } },
        y: { field: "pair", type: "nominal", sort: pairs, title: "true → predicted", axis: { labelLimit: 220, ticks: false } },
        yOffset: { field: "rev", sort: revisions }, color: { field: "rev", scale: { domain: revisions, range: [] } },
        tooltip: [{ field: "rev" }, { field: "pair" }, { field: "images" }],
      },
    };
  }

  function worstClasses(spec) {
    const scored = rowsOf(spec).filter((row) => row.f1 !== "").sort((a, b) => Number(a.f1) - Number(b.f1));
    const kept = new Set(unique(scored.map((row) => row.class)).slice(0, WORST));
    return { ...spec, data: { values: rowsOf(spec).filter((row) => kept.has(row.class)) } };
  }

  // Change a chart of very many classes to what can be read; say so.
  function readable(card, revisions) {
    const classes = unique(rowsOf(card.spec).map((row) => row.class ?? row.actual)).length;
    if (card.section === "confusion" && classes > MAX_CLASSES) {
      card.spec = pairsOfClasses(card.spec, revisions);
      card.title = "Most confused classes on the test split";
      card.note = `The ${MAX_PAIRS} most frequent mistakes among ${classes} classes.`;
    } else if (card.section === "per_class" && classes > WORST) {
      card.spec = worstClasses(card.spec);
      card.note = `The ${WORST} lowest of ${classes} classes. ${card.note}`;
    }
  }

  // ---- the page ----

  function mark(kind, place) {
    const namespace = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(namespace, "svg");
    svg.setAttribute("viewBox", "0 0 28 12");
    const shape = document.createElementNS(namespace, kind === "square" ? "rect" : "line");
    const values = kind === "square" ? { x: 8, y: 0, width: 12, height: 12, fill: place }
      : { x1: 0, x2: 28, y1: 6, y2: 6, stroke: "currentColor", "stroke-width": 2, "stroke-dasharray": kind === "dashed" ? "5 4" : "none" };
    for (const [key, value] of Object.entries(values)) shape.setAttribute(key, value);
    svg.append(shape);
    return svg;
  }

  function entry(kind, text, place) {
    const span = make("span");
    span.append(mark(kind, place), make("bdi", text));
    return span;
  }

  function legend(card, revisions) {
    const box = make("div", undefined, "legend");
    const rows = rowsOf(card.spec), meta = metaOf(card.spec);
    if (meta.section === "data") {
      const scale = card.spec.spec.encoding.color.scale;
      const used = scale.domain.filter((split) => split !== "left out" || rows.some((row) => Number(row.left_out) > 0));
      used.forEach((split) => box.append(entry("square", split, colour(COLOURS[scale.range[scale.domain.indexOf(split)]]))));
    } else if (meta.section && meta.section !== "confusion") {
      const shown = revisions.filter((rev) => rows.some((row) => row.rev === rev));
      const equal = equalRevisions(rows).filter((group) => group.length > 1).map((group) => `${group.join(", ")}: equal`);
      if (revisions.length > 1) shown.forEach((rev) => box.append(entry("square", rev, revisionColour(revisions.indexOf(rev)))));
      if (meta.section === "reliability" && rows.some((row) => row.calibration === "after")) {
        box.append(entry("solid", "as predicted"), entry("dashed", "calibrated"));
      }
      if (meta.section === "curves" && rows.some((row) => String(row.filename ?? "").startsWith("train"))) {
        box.append(entry("dashed", "training"), entry("solid", "validation"));
      }
      equal.forEach((text) => box.append(make("bdi", text, "soft")));
    }
    return box;
  }

  function drawCard(card, revisions) {
    card.views?.forEach((view) => view.finalize());
    card.views = [];
    const rows = rowsOf(card.spec);
    const parts = card.spec.facet ? byRevision(rows) : [[null, rows]];
    card.body.replaceChildren(legend(card, revisions));
    const grid = make("div", undefined, parts.length > 1 ? "columns" : "");
    card.body.append(grid);
    const hosts = parts.map(([heading]) => {
      const part = make("div", undefined, "part"), host = make("div", undefined, "chart");
      if (heading) part.append(make("h4", heading));
      part.append(host);
      grid.append(part);
      return host;
    });
    parts.forEach(([, rows], place) => {
      const spec = prepared(card.spec, rows, revisions, hosts[place].clientWidth);
      const actions = { export: true, source: false, compiled: false, editor: false };
      const compiled = window.vegaLite.compile(spec).spec;
      delete compiled.$schema;
      drawWithVega(hosts[place], compiled, { mode: "vega", renderer: "svg", actions })
        .then((view) => card.views.push(view), (error) => { hosts[place].textContent = String(error); });
    });
  }

  // Rows of each revision, once for those that are equal, with their names; without a name if there is one revision.
  function byRevision(rows) {
    const groups = equalRevisions(rows);
    return groups.map((group) => [
      groups.length > 1 || group.length > 1 ? `${group.join(", ")}${group.length > 1 ? " (equal)" : ""}` : null,
      rows.filter((row) => row.rev === group[0]),
    ]);
  }

  const called = (metric) => METRICS[metric] ?? metric.replaceAll("_", " ");
  const isError = (metric) => /loss|ece|brier/.test(metric);
  const percent = (value) => `${(100 * value).toFixed(1)} %`;
  // A metric of a user's may be no share.
  const plain = (value) => (Math.abs(value) > 10 ? Number(value).toFixed(1) : Number(value).toFixed(4));
  const shown = (metric, value) => (isError(metric) || Math.abs(value) > 1 ? plain(value) : percent(value));

  function headline(card, revisions) {
    const rows = rowsOf(card.spec), box = make("div");
    const test = rows.filter((row) => row.split === "test");
    const numbers = make("div", undefined, "numbers");
    for (const rev of revisions) {
      const row = test.find((each) => each.rev === rev && each.metric === "accuracy") ?? test.find((each) => each.rev === rev);
      const one = make("div");
      const value = make("b", row ? shown(row.metric, row.value) : "–");
      if (revisions.length > 1) value.style.color = revisionColour(revisions.indexOf(rev));
      one.append(make("bdi", rev), value, ...(row ? what(row) : ["no metrics recorded for this page"]).map((line) => make("span", line)));
      numbers.append(one);
    }
    box.append(numbers, tableOf(rows, revisions));
    return box;
  }

  function what(row) {
    const lines = [`test ${called(row.metric)}${row.images ? `, ${row.images} images` : ""}`];
    return row.low ? [...lines, `95 % interval ${shown(row.metric, row.low)} to ${shown(row.metric, row.high)}`] : lines;
  }

  function tableOf(rows, revisions) {
    const box = make("div", undefined, "scroll"), table = make("table"), head = make("tr");
    const metrics = unique(rows.map((row) => row.metric));
    metrics.sort((a, b) => isError(a) - isError(b));
    head.append(make("th", "revision"), make("th", "split"), ...metrics.map((metric) => make("th", called(metric), "number")));
    table.append(head);
    for (const rev of revisions) {
      for (const split of unique(rows.filter((row) => row.rev === rev).map((row) => row.split))) {
        const line = make("tr");
        line.append(make("th", rev), make("td", split === "val" ? "validation" : split));
        for (const metric of metrics) {
          const row = rows.find((each) => each.rev === rev && each.split === split && each.metric === metric);
          line.append(make("td", row ? shown(metric, row.value) : "–", "number"));
        }
        table.append(line);
      }
    }
    box.tabIndex = 0;
    box.append(table);
    return box;
  }

  function figure(card) {
    const box = make("figure");
    box.id = `plot-${card.id}`;
    box.append(make("h3", card.title));
    card.body = make("div");
    box.append(card.body);
    if (card.note) box.append(make("figcaption", card.note));
    if (card.images?.length) {
      box.classList.add("wide");
      for (const { rev, image } of card.images) {
        const link = make("a", undefined, "sheet"), part = make("div", undefined, "part");
        link.href = image.getAttribute("src");
        image.alt = `${card.title}, ${rev}`;
        link.append(image);
        part.append(make("h4", rev), link);
        card.body.append(part);
      }
    } else if (card.spec.facet && unique(rowsOf(card.spec).map((row) => row.rev)).length > 1 && byRevision(rowsOf(card.spec)).length > 1) {
      box.classList.add("wide");
    }
    return box;
  }

  function arrange() {
    const main = document.querySelector("main");
    const cards = readCards(main).filter((card) => !saysNothing(card));
    const revisions = revisionsOf(cards);
    const title = `Plots of ${revisions.join(", ") || "nothing"}`;
    document.title = title;
    main.replaceChildren(make("h1", title));
    const links = make("nav");
    main.append(links);
    for (const [ident, heading] of Object.entries(SECTIONS)) {
      const members = cards.filter((card) => card.section === ident);
      if (!members.length) continue;
      const section = make("section"), link = make("a", heading);
      link.href = `#${ident}`;
      section.id = ident;
      section.append(make("h2", heading));
      links.append(link);
      const grid = make("div", undefined, "columns");
      section.append(grid);
      main.append(section);
      for (const card of members) {
        if (ident === "headline") { card.table = make("div"); grid.replaceWith(card.table); continue; }
        if (card.spec) readable(card, revisions);
        grid.append(figure(card));
      }
    }
    const redraw = () => cards.forEach((card) => {
      if (card.table) card.table.replaceChildren(headline(card, revisions));
      else if (card.spec) drawCard(card, revisions);
    });
    redraw();
    let timer, last = innerWidth;
    addEventListener("resize", () => {
      if (innerWidth === last) return;
      last = innerWidth;
      clearTimeout(timer);
      timer = setTimeout(redraw, 200);
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  }

  document.addEventListener("DOMContentLoaded", arrange);
})();
