"use strict";
(() => {
  const make = (tag, name, text) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const shown = (value) => {
    const size = Math.abs(value);
    if (value === 0) return "0";
    return size >= 1e6 || size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
  };

  // Tables: a click on a heading sorts by that column; long ones have a filter.
  const units = { k: 1e3, M: 1e6, G: 1e9, s: 1, min: 60, h: 3600, "%": 1 };
  const number = (text) => {
    const found = text.replace(/,/g, "").match(/^\s*(-?[\d.]+(?:e[+-]?\d+)?)(?:\s?(k|M|G|s|min|h|%))?(?=\s|$)/);
    return found ? Number(found[1]) * (units[found[2]] || 1) : NaN;
  };
  const sort = (table, column, heading) => {
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => ({ row, text: row.cells[column].textContent.trim() }));
    const absent = (one) => one.text === "" || one.text === "\u2014";
    const numeric = rows.every((one) => absent(one) || !Number.isNaN(number(one.text)));
    const compare = (a, b) => (numeric ? number(a.text) - number(b.text) : a.text.localeCompare(b.text));
    rows.sort((a, b) => absent(a) - absent(b) || (absent(a) ? 0 : down ? compare(b, a) : compare(a, b)));
    for (const one of rows) body.append(one.row);
  };
  const filtered = (before, items) => {
    const field = make("input", "filter");
    field.type = "search";
    field.placeholder = "filter " + items.length + " rows";
    field.setAttribute("aria-label", field.placeholder);
    field.addEventListener("input", () => {
      const wanted = field.value.toLowerCase();
      for (const item of items) item.hidden = !item.textContent.toLowerCase().includes(wanted);
    });
    before.before(field);
  };
  for (const table of document.querySelectorAll("table.data")) {
    const rows = [...table.tBodies[0].rows];
    if (rows.length > 1) {
      [...table.tHead.rows[0].cells].forEach((heading, column) => {
        const button = make("button", "sort", heading.textContent);
        button.type = "button";
        button.title = "sort by this column";
        button.addEventListener("click", () => sort(table, column, heading));
        heading.replaceChildren(button);
      });
    }
    if (rows.length > 7) filtered(table.parentElement, rows);
  }
  for (const facts of document.querySelectorAll("dl.facts")) {
    if (facts.children.length > 11) filtered(facts, [...facts.children]);
  }

  // Pictures: values under the pointer, or with the arrow keys; a click on an entry of the legend hides its line.
  for (const figure of document.querySelectorAll("figure[data-axes]")) {
    const axes = JSON.parse(figure.dataset.axes);
    const hidden = new Set();
    const tip = make("div", "tip");
    const cursor = make("div", "cursor");
    tip.hidden = cursor.hidden = true;
    tip.setAttribute("role", "status");
    figure.append(cursor, tip);
    const drawing = () => [...figure.querySelectorAll("svg")].find((svg) => svg.getBoundingClientRect().width);
    const show = (place, across) => {
      const svg = drawing();
      const one = axes[place];
      const box = JSON.parse(svg.dataset.boxes)[place];
      const [from, to] = one.log ? one.x.map(Math.log10) : one.x;
      const x = from + across * (to - from);
      const near = (line) =>
        line.x.reduce((best, other, at) => {
          const distance = Math.abs((one.log ? Math.log10(other) : other) - x);
          return distance < best[0] ? [distance, at] : best;
        }, [Infinity, -1])[1];
      const lines = one.lines.filter((line) => !hidden.has(line.key) && line.x.length);
      if (!lines.length) return;
      tip.replaceChildren(make("b", "", one.label + " " + shown(lines[0].x[near(lines[0])])));
      for (const line of lines) {
        const row = make("span");
        const key = make("i", "key");
        key.style.borderTopColor = line.color;
        const at = near(line);
        const range = line.low ? " (" + shown(line.low[at]) + " to " + shown(line.high[at]) + ")" : "";
        row.append(key, line.name + " ", make("b", "", shown(line.y[at]) + range));
        tip.append(row);
      }
      tip.hidden = cursor.hidden = false;
      const outer = figure.getBoundingClientRect();
      const inner = svg.getBoundingClientRect();
      const left = inner.left - outer.left + figure.scrollLeft + inner.width * (box[0] + across * (box[2] - box[0]));
      cursor.style.left = left + "px";
      cursor.style.top = inner.top - outer.top + inner.height * box[1] + "px";
      cursor.style.height = inner.height * (box[3] - box[1]) + "px";
      const room = outer.width - tip.offsetWidth;
      tip.style.left = Math.max(0, Math.min(left + 12 > room ? left - tip.offsetWidth - 12 : left + 12, room)) + "px";
      tip.style.top = inner.top - outer.top + inner.height * box[1] + 6 + "px";
    };
    const hide = () => (tip.hidden = cursor.hidden = true);
    const point = (event) => {
      const svg = event.target.closest("svg");
      if (!svg || !svg.dataset.boxes) return hide();
      const inner = svg.getBoundingClientRect();
      const [x, y] = [(event.clientX - inner.left) / inner.width, (event.clientY - inner.top) / inner.height];
      const boxes = JSON.parse(svg.dataset.boxes);
      const place = boxes.findIndex((box) => x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3]);
      if (place < 0 || !axes[place].lines.length) return hide();
      return show(place, (x - boxes[place][0]) / (boxes[place][2] - boxes[place][0]));
    };
    figure.addEventListener("pointermove", point);
    figure.addEventListener("pointerdown", point);
    figure.addEventListener("pointerleave", hide);
    figure.addEventListener("blur", hide);
    let across = 1;
    figure.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 }[event.key];
      const place = axes.findIndex((one) => one.lines.length);
      if (step === undefined || event.target !== figure || place < 0) return;
      across = Math.max(0, Math.min(1, across + step));
      show(place, across);
      event.preventDefault();
    });
    for (const entry of figure.querySelectorAll(".legend li[data-line]")) {
      const button = make("button");
      button.type = "button";
      button.title = "hide or show this line";
      button.setAttribute("aria-pressed", "true");
      button.append(...entry.childNodes);
      entry.append(button);
      button.addEventListener("click", () => {
        const key = entry.dataset.line;
        const off = !hidden.delete(key);
        if (off) hidden.add(key);
        button.setAttribute("aria-pressed", String(!off));
        for (const part of figure.querySelectorAll('svg [data-line="' + key + '"]')) {
          part.style.display = off ? "none" : "";
        }
        hide();
      });
    }
  }

  // Paper shows what is folded away.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const one of folded) one.open = true;
  });
  addEventListener("afterprint", () => {
    for (const one of folded) one.open = false;
  });
})();
