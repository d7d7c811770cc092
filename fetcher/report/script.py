"""The script of a report's page: it sorts tables, searches failures, reads charts.  The page is whole without it."""

__all__ = ["SCRIPT"]

SCRIPT = r"""
"use strict";
{
  const element = (id) => document.getElementById(id);
  const whole = new Intl.NumberFormat("en");
  const brief = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
  const collator = new Intl.Collator("en", { numeric: true });

  const addButton = (heading) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    return button;
  };

  const valueOf = (cell) => (cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value));
  const compare = ([a], [b]) => (typeof a === "number" ? a - b : collator.compare(a, b));

  const sort = (table, heading) => {
    const first = heading.classList.contains("number") ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = heading.getAttribute("aria-sort") === first ? other : first;
    for (const each of heading.parentNode.cells) each.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", order);
    const body = table.tBodies[0];
    const sign = order === "ascending" ? 1 : -1;
    const rows = Array.from(body.rows, (row) => [valueOf(row.cells[heading.cellIndex]), row]);
    rows.sort((a, b) => sign * compare(a, b));
    body.append(...rows.map(([, row]) => row));
  };

  for (const table of document.querySelectorAll("table")) {
    for (const heading of table.tHead.rows[0].cells) {
      if (!heading.textContent) continue;
      addButton(heading).addEventListener("click", () => {
        sort(table, heading);
        table.dispatchEvent(new Event("sorted"));
      });
    }
  }

  // A browser lays out some hundred rows at once in no time, and ten thousand not; the style begins with as many.
  const PORTION = 200;

  const textOf = (row) => Array.from(row.cells, (cell) => cell.textContent).join(" ").toLowerCase();

  const searchable = (table, field, found, more, kinds) => {
    const texts = new Map(Array.from(table.tBodies[0].rows, (row) => [row, textOf(row)]));
    let most = PORTION;
    let kind = null;

    const show = () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      for (const row of table.tBodies[0].rows) {
        const text = texts.get(row);
        const fits = (kind === null || row.dataset.error === kind) && words.every((word) => text.includes(word));
        if (fits) count += 1;
        row.hidden = !fits || count > most;
      }
      found.textContent = `${whole.format(count)} of ${whole.format(texts.size)}`;
      more.hidden = count <= most;
      more.textContent = `Show ${whole.format(Math.min(count - most, PORTION))} more`;
    };

    const showFromStart = () => {
      most = PORTION;
      show();
    };
    field.parentNode.hidden = false;
    field.addEventListener("input", showFromStart);
    table.addEventListener("sorted", showFromStart);
    more.addEventListener("click", () => {
      most += PORTION;
      show();
    });
    for (const button of kinds) {
      button.disabled = false;
      button.addEventListener("click", () => {
        kind = button.dataset.error === kind ? null : button.dataset.error;
        for (const each of kinds) each.setAttribute("aria-pressed", String(each.dataset.error === kind));
        showFromStart();
      });
    }
    show();
    table.classList.add("ready");
  };

  if (element("failed")) {
    const kinds = document.querySelectorAll(".kinds button");
    searchable(element("failed"), element("search"), element("found"), element("more"), kinds);
  }

  // Which level the pointer is over: its interval and height take the place of the summary.
  const readable = ({ name, x, y, levels }) => {
    const plot = element(name).querySelector(".plot");
    const output = element(name).querySelector("output");
    if (!plot) return;
    const summary = output.textContent;
    const right = levels[levels.length - 1][1];
    const mark = document.createElementNS(plot.namespaceURI, "rect");
    mark.setAttribute("class", "pointed");
    mark.setAttribute("height", "100%");

    plot.addEventListener("pointermove", (event) => {
      const box = plot.getBoundingClientRect();
      const place = ((event.clientX - box.left) / box.width) * right;
      const [start, end, height] = levels.find((level) => place <= level[1]) ?? levels[levels.length - 1];
      mark.setAttribute("x", `${(100 * start) / right}%`);
      mark.setAttribute("width", `${(100 * (end - start)) / right}%`);
      plot.append(mark);
      const show = x === "files" ? whole : brief;
      output.textContent = `${show.format(start)}–${show.format(end)} ${x}: ${brief.format(height)} ${y}`;
    });
    plot.addEventListener("pointerleave", () => {
      mark.remove();
      output.textContent = summary;
    });
  };

  JSON.parse(element("data").textContent).charts.forEach(readable);
}
"""
