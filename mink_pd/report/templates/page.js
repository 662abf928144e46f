"use strict";
// Tables sort by a click on a heading: numbers downwards first, empty cells last. A group's controls stay in order.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const value = (row) => row.cells[column].dataset.value;
      const rows = [...table.tBodies[0].rows];
      const numbers = rows.every((row) => value(row) !== "" && !Number.isNaN(Number(value(row))));
      const first = numbers ? "descending" : "ascending";
      const second = numbers ? "ascending" : "descending";
      const order = heading.getAttribute("aria-sort") === first ? second : first;
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const empty = (row) => row.cells[column].textContent === "";
      rows.sort((a, b) => {
        if (empty(a) || empty(b)) return empty(a) - empty(b);
        return sign * (numbers ? value(a) - value(b) : value(a).localeCompare(value(b)));
      });
      table.tBodies[0].append(...rows);
    });
  });
}
// In print, all classes are shown, but only the curves that are open.
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("#classes details:not([open])")];
  closed.forEach((one) => { one.open = true; });
});
addEventListener("afterprint", () => closed.forEach((one) => { one.open = false; }));
