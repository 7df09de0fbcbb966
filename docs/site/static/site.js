// Pages that are opened as files may not fetch each other: their search shows no excerpts.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// The figures ask JupyterLab for its theme: say what this page's is.
{
  const page = document.documentElement;
  const tell = () => (document.body.dataset.jpThemeLight = String(page.dataset.theme !== "dark"));
  const watch = () => {
    tell();
    new MutationObserver(tell).observe(page, { attributeFilter: ["data-theme"] });
  };
  if (document.body) watch();
  else document.addEventListener("DOMContentLoaded", watch);
}

// The index of papers narrows down while a reader types.
document.addEventListener("DOMContentLoaded", () => {
  const table = document.querySelector("#the-papers table");
  if (!table) return;
  const box = Object.assign(document.createElement("input"), {
    type: "search",
    className: "labkit-search",
    placeholder: "words of a title, a claim or an id",
  });
  box.setAttribute("aria-label", "search the papers");
  const count = Object.assign(document.createElement("span"), { className: "labkit-count" });
  count.setAttribute("role", "status");
  const rows = [...table.tBodies[0].rows];
  const narrow = () => {
    const words = box.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
  };
  box.addEventListener("input", narrow);
  const bar = document.createElement("p");
  bar.append(box, " ", count);
  (table.closest(".pst-scrollable-table-container") ?? table).before(bar);
  narrow();
});
