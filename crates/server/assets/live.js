// Keeps the page of an order up to date. Without it, the page works all the same: it is then reloaded to see what is new.
(() => {
  const page = document.querySelector("[data-events]");
  if (!page || !window.EventSource) return;
  const find = (selector) => page.querySelector(selector);
  const log = find("[data-log]");
  let first = true;

  const show = (status) => {
    const sources = status.from_source || [];
    if (status.state !== page.dataset.state || `${status.lacks_packages} ${sources.length}` !== page.dataset.sources) {
      location.reload();
      return;
    }
    const position = find("[data-position]");
    if (position && status.position) position.textContent = status.position;
    find("[data-ready]").textContent = status.ready.text;
    const words = find("[data-steps]").dataset;
    const steps = { waiting: "waiting", building: "running", ready: "done", expired: "done", failed: "failed", cancelled: "failed" };
    for (const source of sources) {
      const row = find(`[data-source="${source.build}"]`);
      if (!row) continue;
      const step = steps[source.state];
      row.className = `step ${step}`;
      row.querySelector("[data-word]").textContent = words[step];
      row.querySelector("[data-what]").textContent = step === "waiting" || step === "running" ? source.ready.text : "";
      const bar = row.querySelector("progress");
      if (step === "running") bar.removeAttribute("value");
      else bar.value = step === "done" ? 1 : 0;
    }
    for (const step of status.steps) {
      const row = find(`[data-step="${step.step}"]`);
      row.className = `step ${step.state}`;
      row.querySelector("[data-word]").textContent = words[step.state];
      const running = step.state === "running" && step.total;
      row.querySelector("[data-share]").textContent = running ? `${Math.floor((step.done * 100) / step.total)} %` : "";
      row.querySelector("[data-what]").textContent = step.state === "running" ? step.what : "";
      const bar = row.querySelector("progress");
      bar.max = step.total || 1;
      if (step.state === "done") bar.value = bar.max;
      else if (step.state === "running" && !step.total) bar.removeAttribute("value");
      else bar.value = step.done;
      if (step.state === "running") tell(row);
    }
  };

  // Whoever hears the page is told of each step once, not of each package.
  const tell = (row) => {
    const text = `${row.querySelector(".step-name").textContent}: ${row.querySelector("[data-word]").textContent}`;
    const told = find("[data-told]");
    if (told.textContent !== text) told.textContent = text;
  };

  const append = (lines) => {
    const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 30;
    // What the server drew is replaced by the stream's own beginning, so that no line stands there twice.
    if (first) log.textContent = "";
    first = false;
    log.append(lines.join("\n") + "\n");
    while (log.childNodes.length > 400) log.firstChild.remove();
    if (atEnd) log.scrollTop = log.scrollHeight;
  };

  log.scrollTop = log.scrollHeight;
  const follow = () => {
    const source = new EventSource(page.dataset.events);
    for (const name of ["snapshot", "state", "progress"]) {
      source.addEventListener(name, (event) => show(JSON.parse(event.data)));
    }
    source.addEventListener("log", (event) => append(JSON.parse(event.data).lines));
    // A line that is down is taken up again by the browser. An answer that is no stream, as while a site restarts behind a proxy or where a
    // user has too many, ends it for good; then the log comes from its beginning once more. Meanwhile the order itself is looked at.
    source.addEventListener("error", async () => {
      if (source.readyState !== EventSource.CLOSED) return;
      first = true;
      setTimeout(follow, 5000);
      const answer = await fetch(page.dataset.order).catch(() => null);
      if (answer && answer.ok) show(await answer.json());
    });
  };
  follow();
})();
