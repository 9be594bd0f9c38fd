// Works the order out while it is being filled in. Without it, the form's own buttons do the same.
(() => {
  const form = document.querySelector("#order");
  if (!form || !window.fetch) return;
  document.documentElement.classList.add("scripted");
  const byId = (id) => document.getElementById(id);
  const plan = byId("plan");
  const search = byId("search");
  const waiting = {};

  // What was typed, without passwords and files.
  const fields = (button) => {
    const body = new URLSearchParams();
    for (const [name, value] of new FormData(form)) {
      if (typeof value === "string" && !name.startsWith("root_password")) body.append(name, value);
    }
    if (byId("root_password").value) body.append("had_password", "1");
    if (button) body.append(button.name, button.value);
    return body;
  };

  // Asks for parts of the page; a newer question for the same takes the place of an older one.
  const ask = async (path, body) => {
    waiting[path]?.abort();
    const abort = (waiting[path] = new AbortController());
    try {
      const answer = await fetch(path, { method: "POST", body, signal: abort.signal });
      return answer.status === 200 ? await answer.text() : "";
    } catch {
      // Called off, or the line is down: what is shown stays, and ordering says what is wrong.
      return null;
    } finally {
      if (waiting[path] === abort) delete waiting[path];
    }
  };

  // The same control in what takes a part's place: a button by its value, what folds by the first button of its entry.
  const entryOf = (node) => node.closest("li")?.querySelector("button")?.value;
  const nameOf = (node) => `${node.tagName} ${node.value ?? entryOf(node)}`;

  // Whoever was in a part stays there: at the same control, or else at the part's heading, or else at the search. What was unfolded stays so.
  const put = (place, nodes) => {
    const at = place.contains(document.activeElement) && nameOf(document.activeElement);
    const unfolded = [...place.querySelectorAll("li details[open]")].map(entryOf);
    place.replaceChildren(...nodes);
    for (const details of place.querySelectorAll("li details")) details.open ||= unfolded.includes(entryOf(details));
    if (!at) return;
    const same = [...place.querySelectorAll("button, summary")].find((control) => nameOf(control) === at);
    (same || place.querySelector("[tabindex]") || search).focus();
  };

  // Where no answer comes, the form goes as it would without the script: what was pressed is not lost, and the page says what is wrong. Nothing
  // comes after that.
  const send = ({ name, value }) => {
    form.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
    form.action = "/orders/form";
    form.submit();
    return new Promise(() => {});
  };

  let shown = "";
  const work = async (button) => {
    const body = fields(button);
    if (!button && body.toString() === shown) return;
    shown = button ? "" : body.toString();
    plan.setAttribute("aria-busy", "true");
    const html = await ask("/orders/parts", body);
    if (button && !html) return send(button);
    if (html === null) return;
    plan.removeAttribute("aria-busy");
    if (!html) return void (shown = "");
    const parts = document.createElement("template");
    parts.innerHTML = html;
    for (const part of parts.content.querySelectorAll("[data-into]")) {
      const place = byId(part.dataset.into);
      if (place.innerHTML !== part.innerHTML) put(place, part.childNodes);
    }
    if (button) form.elements.packages.value = parts.content.querySelector("[data-value=packages]").value;
  };

  // What buttons change is asked for one after the other, each from what the last one brought, and nothing newer calls it off.
  let pressed = Promise.resolve();
  let underWay = 0;
  const press = (button) => {
    underWay += 1;
    const done = pressed.then(() => work(button)).finally(() => (underWay -= 1));
    pressed = done.catch(() => {});
    return done;
  };
  const refresh = () => pressed.then(() => work());

  const look = async () => {
    const html = await ask("/orders/hits", fields());
    if (html === null) return;
    const hits = document.createElement("template");
    hits.innerHTML = html;
    put(byId("hits"), hits.content.childNodes);
  };

  const timers = {};
  const soon = (name, wait, what) => {
    clearTimeout(timers[name]);
    timers[name] = setTimeout(what, wait);
  };
  const isSearch = (field) => field.name === "search" || field.name === "category";

  // A preset brings its formats along, until somebody chooses formats.
  let ownFormats = false;
  const presetChosen = (card) => {
    if (ownFormats || !card.dataset.formats) return;
    const wanted = card.dataset.formats.split(" ");
    for (const box of form.querySelectorAll("[name=formats]")) box.checked = wanted.includes(box.value);
  };

  const keysFrom = async (input) => {
    const keys = byId(input.dataset.keys);
    const text = await input.files[0].text();
    const found = text.split("\n").filter((line) => line.includes(" AAAA"));
    // A file without a public key goes along with the order, and what is wrong with it is said there.
    if (!found.length) return;
    keys.value = [keys.value.trim(), ...found.map((line) => line.trim())].filter(Boolean).join("\n");
    input.value = "";
    refresh();
  };

  form.addEventListener("input", (event) => {
    const field = event.target;
    if (isSearch(field)) soon("look", 180, look);
    else if (field.type !== "file") soon("work", 350, refresh);
  });
  form.addEventListener("change", (event) => {
    const field = event.target;
    if (field.name === "preset") presetChosen(field);
    if (field.name === "formats") ownFormats = true;
    if (field.dataset.keys && field.files.length) keysFrom(field);
    if (field.name === "file" && field.files.length) form.requestSubmit(byId("read-file"));
  });
  form.addEventListener("submit", (event) => {
    const button = event.submitter;
    if (!button) return;
    if (button.name === "set") {
      const [name, value] = button.value.split("=");
      for (const field of form.querySelectorAll(`[name=${name}]`)) {
        if (field.type === "checkbox" || field.type === "radio") field.checked ||= field.value === value;
        else field.value = value;
      }
      event.preventDefault();
      refresh();
    } else if (["take", "add", "remove"].includes(button.name)) {
      event.preventDefault();
      press(button).then(() => byId("hits").children.length && look());
    } else if (button.id === "check-first" || button.id === "look" || button.id === "check") {
      event.preventDefault();
      if (button.id === "look" || document.activeElement === search) look();
      else refresh();
    } else if (underWay) {
      // What was pressed before belongs to what is sent.
      event.preventDefault();
      pressed.then(() => form.requestSubmit(button.isConnected ? button : byId(button.id)));
    }
  });
  // A page that comes back from the browser's memory may hold what another plan was made for.
  window.addEventListener("pageshow", refresh);
})();
