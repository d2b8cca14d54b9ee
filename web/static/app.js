// What makes the page move by itself: progress as it comes, lists when they have changed. Without it everything works
// too, by reloading.
"use strict";

(() => {
  const page = document.querySelector("[data-events]");
  const away = document.getElementById("away");

  // No page more often than PAUSE; those that nobody looks at come up to SPREAD later, not all at once. Milliseconds.
  const PAUSE = 1500;
  const SPREAD = 5000;
  // An answer that was no stream ends an EventSource for good: after this a new one is tried.
  const AGAIN = 3000;
  // Without news: files expire and times grow old all the same.
  const IDLE = 30000;

  let due = null;
  let last = Date.now();

  function show(jobs) {
    for (const job of jobs) {
      const bar = document.querySelector(`[data-job="${job.id}"]`);
      if (!bar) continue;
      const progress = bar.querySelector("progress");
      if (job.total === null) progress.removeAttribute("value");
      else {
        progress.max = job.total || 1;
        progress.value = job.total ? job.rows : 1;
      }
      bar.querySelector(".rows").textContent = job.text;
      bar.querySelector(".speed").textContent = job.speed;
      bar.querySelector(".left").textContent = job.left ? `осталось ${job.left}` : "";
    }
  }

  async function refresh() {
    due = null;
    last = Date.now();
    const live = page.dataset.live;
    if (!live) {
      // What else is on the page stays: somebody may be filling a form there.
      const answer = await fetch(location.href);
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[data-part]")) {
        const same = fresh.querySelector(`[data-part="${part.dataset.part}"]`);
        if (same) replace(part, same.innerHTML);
      }
      return;
    }
    const answer = await fetch(live);
    if (answer.ok) replace(page, await answer.text());
  }

  function replace(element, html) {
    const focused = document.activeElement && element.contains(document.activeElement) ? document.activeElement.id : "";
    element.innerHTML = html;
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  }

  function plan() {
    if (due === null) {
      const wait = Math.max(0, last + PAUSE - Date.now()) + Math.random() * (document.hidden ? SPREAD : 0);
      due = setTimeout(() => refresh().catch(() => {}), wait);
    }
  }

  function listen() {
    const source = new EventSource(page.dataset.events);
    source.addEventListener("progress", (event) => {
      if (away) away.hidden = true;
      show(JSON.parse(event.data).running);
    });
    // The first one, too: what has ended before the page listened is on no other.
    source.addEventListener("changed", plan);
    source.addEventListener("away", () => { if (away) away.hidden = false; });
    source.onerror = () => {
      if (away) away.hidden = false;
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, AGAIN);
    };
  }

  // "How many rows?" without leaving the page.
  function estimates(form) {
    const button = form.querySelector(".estimate");
    const output = form.querySelector("output");
    button.addEventListener("click", async (event) => {
      if (!form.reportValidity()) { event.preventDefault(); return; }
      event.preventDefault();
      output.textContent = "считаем…";
      const values = new URLSearchParams(new FormData(form));
      values.delete("token");
      try {
        const answer = await fetch(`${form.dataset.estimate}?${values}`);
        output.textContent = await answer.text();
      } catch {
        output.textContent = "не получилось, попробуйте ещё раз";
      }
    });
    form.addEventListener("input", () => { output.textContent = ""; });
    // Dates in order.
    const [start, finish] = [form.elements.start_date, form.elements.finish_date];
    const check = () => finish.setCustomValidity(
      start.value && finish.value && finish.value < start.value ? "Последний день раньше первого" : "");
    start.addEventListener("input", check);
    finish.addEventListener("input", check);
  }

  document.querySelectorAll(".order").forEach(estimates);
  if (page && (page.dataset.live || ["waiting", "running"].includes(page.dataset.state))) {
    listen();
    setInterval(() => { if (Date.now() - last > IDLE) plan(); }, IDLE / 3);
  }
})();
