// The table of runs, or of documents: sorting, filtering, downloads; and what printing needs.
"use strict";
(() => {
  const DATA = JSON.parse(document.getElementById("data").textContent);

  // Sorting

  const value = cell => {
    const text = cell.dataset.v ?? cell.textContent.trim();
    return text === "–" || text === "" ? null : text;
  };
  function order(a, b, numeric, sign) {
    if (a === null || b === null) return (a === null) - (b === null); // what is missing comes last either way
    return sign * (numeric ? Number(a.replaceAll(",", "")) - Number(b.replaceAll(",", "")) : a.localeCompare(b, "en", {numeric: true}));
  }
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
    heads.forEach((head, i) => head.querySelector("button").addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1, numeric = head.dataset.number === "1";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const rows = [...body.rows].map((row, at) => ({row, at, key: value(row.cells[i])}));
      rows.sort((a, b) => order(a.key, b.key, numeric, sign) || a.at - b.at);
      body.append(...rows.map(entry => entry.row));
    }));
  }

  // Filtering: words anywhere, !words nowhere, column>number, column=text

  const table = document.getElementById("runs"), box = document.getElementById("filter");
  const heads = [...table.tHead.rows[0].cells], names = heads.map(head => head.dataset.name.toLowerCase());
  const rows = [...table.tBodies[0].rows];
  const tests = {">": (a, b) => a > b, "<": (a, b) => a < b, ">=": (a, b) => a >= b, "<=": (a, b) => a <= b};
  function term(text) {
    const found = /^(.+?)(>=|<=|!=|=|>|<)(.*)$/.exec(text);
    if (!found) {
      const not = text.startsWith("!"), words = (not ? text.slice(1) : text).toLowerCase();
      return row => row.textContent.toLowerCase().includes(words) !== not;
    }
    const [, name, sign, wanted] = found, lower = name.toLowerCase();
    let at = names.indexOf(lower);
    const starting = names.map((_, i) => i).filter(i => names[i].startsWith(lower));
    if (at < 0 && starting.length === 1) at = starting[0];
    if (at < 0) throw new Error(starting.length ? `${name} is any of ${starting.map(i => heads[i].dataset.name).join(", ")}` : `no column ${name}; columns: ${heads.map(h => h.dataset.name).join(", ")}`);
    const number = wanted.trim() === "" ? NaN : Number(wanted.replaceAll(",", ""));
    if (sign in tests && Number.isNaN(number)) throw new Error(`${text}: ${sign} needs a number behind it`);
    return row => {
      const known = value(row.cells[at]), given = known === null ? NaN : Number(known.replaceAll(",", ""));
      if (sign in tests) return tests[sign](given, number);
      const same = Number.isNaN(number) || Number.isNaN(given) ? (known ?? "").toLowerCase().split(", ").includes(wanted.toLowerCase())
        : given === number || row.cells[at].textContent.trim().replaceAll(",", "") === wanted.replaceAll(",", "");
      return same === (sign === "=");
    };
  }
  function filter() {
    const message = document.getElementById("filter-message"), count = document.getElementById("shown");
    let wanted = [];
    try {
      wanted = (box.value.match(/\S+/g) || []).map(term);
      message.textContent = "";
      box.removeAttribute("aria-invalid");
    } catch (error) {
      wanted = []; // a filter that cannot be hides nothing
      message.textContent = error.message;
      box.setAttribute("aria-invalid", "true");
    }
    let shown = 0;
    for (const row of rows) shown += !(row.hidden = !wanted.every(test => test(row)));
    count.textContent = `${shown} of ${rows.length} ${table.dataset.noun} shown`;
    document.getElementById("printed-filter").textContent = wanted.length ? `Filter: ${box.value}` : "";
  }
  box.addEventListener("input", filter);
  document.getElementById("clear").addEventListener("click", () => { box.value = ""; filter(); box.focus(); });
  for (const button of document.querySelectorAll("button[data-filter]")) button.addEventListener("click", () => {
    box.value = button.dataset.filter;
    filter();
    document.getElementById("runs-section").scrollIntoView();
  });
  window.addEventListener("show-run", event => {
    const row = document.getElementById("run-" + event.detail);
    if (!row) return;
    if (row.hidden) { box.value = ""; filter(); }
    document.querySelectorAll("tr.picked").forEach(other => other.classList.remove("picked"));
    row.classList.add("picked");
    row.scrollIntoView({block: "center"});
  });
  filter();

  // Downloads

  function save(name, blob) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }
  const quoted = text => /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  document.getElementById("csv").addEventListener("click", () => {
    const lines = [heads.map(head => quoted(head.dataset.name))];
    for (const row of table.tBodies[0].rows) if (!row.hidden) lines.push([...row.cells].map(cell => quoted(value(cell) === null ? "" : heads[cell.cellIndex].dataset.number === "1" ? value(cell).replaceAll(",", "") : value(cell))));
    save(document.body.dataset.study.replaceAll("/", "_") + ".csv", new Blob([lines.map(line => line.join(",") + "\n").join("")], {type: "text/csv"}));
  });
  for (const button of document.querySelectorAll("button[data-file]")) button.addEventListener("click", async () => {
    const bytes = Uint8Array.from(atob(DATA.files[button.dataset.file]), letter => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    save(button.dataset.file, await new Response(stream).blob());
  });
  for (const button of document.querySelectorAll("button.copy")) button.addEventListener("click", async () => {
    const text = button.nextElementSibling.textContent;
    try { await navigator.clipboard.writeText(text); button.textContent = "copied"; } catch { getSelection().selectAllChildren(button.nextElementSibling); button.textContent = "selected"; }
    setTimeout(() => { button.textContent = "copy"; }, 2000);
  });

  // Paper shows what is folded

  let opened = [];
  window.addEventListener("beforeprint", () => { opened = [...document.querySelectorAll("details:not([open])")]; opened.forEach(part => { part.open = true; }); });
  window.addEventListener("afterprint", () => opened.forEach(part => { part.open = false; }));
})();
