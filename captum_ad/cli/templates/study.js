"use strict";
function sortBy(header) { // the column's numbers where there are any, else its words
  const row = header.parentElement, body = row.closest("table").tBodies[0], place = [...row.cells].indexOf(header);
  const down = header.getAttribute("aria-sort") === "ascending";
  for (const other of row.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = (line) => {
    const cell = line.cells[place];
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  };
  const order = (a, b) => {
    const [left, right] = [key(a), key(b)], missing = (one) => one === "–";
    if (missing(left) || missing(right)) return missing(left) - missing(right); // last, whichever way
    const found = typeof left === "number" && typeof right === "number" ? left - right : String(left).localeCompare(String(right));
    return down ? -found : found;
  };
  body.append(...[...body.rows].sort(order));
}
for (const button of document.querySelectorAll("thead button")) button.onclick = () => sortBy(button.parentElement);
document.body.dataset.ready = "yes";
