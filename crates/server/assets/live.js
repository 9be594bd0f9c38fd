// Keeps the page of an order up to date. Without it, the page works all the same: it is then reloaded to see what is new.
(() => {
  const page = document.querySelector("[data-events]");
  if (!page || !window.EventSource) return;
  const find = (selector) => page.querySelector(selector);
  const log = find("[data-log]");
  let first = true;

  const show = (status) => {
    if (status.state !== page.dataset.state) {
      location.reload();
      return;
    }
    const position = find("[data-position]");
    if (position && status.position) position.textContent = status.position;
    find("[data-ready]").textContent = status.ready.text;
    for (const step of status.steps) {
      const row = find(`[data-step="${step.step}"]`);
      row.className = `step ${step.state}`;
      row.querySelector("[data-word]").textContent = find("[data-steps]").dataset[step.state];
      const running = step.state === "running" && step.total;
      row.querySelector("[data-share]").textContent = running ? `${Math.floor((step.done * 100) / step.total)} %` : "";
      row.querySelector("[data-what]").textContent = step.state === "running" ? step.what : "";
      const bar = row.querySelector("progress");
      bar.max = step.total || 1;
      if (step.state === "done") bar.value = bar.max;
      else if (step.state === "running" && !step.total) bar.removeAttribute("value");
      else bar.value = step.done;
    }
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
    // A line that is down is taken up again by the browser. An answer that is no stream, as while a site restarts behind a proxy, ends it
    // for good; then the log comes from its beginning once more.
    source.addEventListener("error", () => {
      if (source.readyState !== EventSource.CLOSED) return;
      first = true;
      setTimeout(follow, 5000);
    });
  };
  follow();
})();
