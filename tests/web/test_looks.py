"""How the pages look: contrast, width, light and dark; their pictures land where SCREENSHOTS says.

SCREENSHOTS=docs/screenshots pytest tests/web/test_looks.py
"""

from __future__ import annotations

import itertools
import os

from playwright.sync_api import Browser, expect

from tests.web.installation import Installation, fill

PICTURES = os.environ.get("SCREENSHOTS")

#: Contrast of every visible text with what is behind it, by WCAG 2: 4.5, or 3 where it is large.
CONTRAST = """() => {
  const parse = (text) => { const m = text.match(/[\\d.]+/g).map(Number); return {c: m.slice(0, 3), a: m[3] ?? 1}; };
  const light = (c) => { const [r, g, b] = c.map((v) => { v /= 255;
    return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (e) => { for (; e; e = e.parentElement) { const b = parse(getComputedStyle(e).backgroundColor);
    if (b.a > 0) return b.c; } return [255, 255, 255]; };
  const poor = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility() || e.closest(".visually-hidden, svg, datalist, option")) continue;
    const s = getComputedStyle(e), a = light(parse(s.color).c), b = light(behind(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const large = parseFloat(s.fontSize) >= 24 || (parseFloat(s.fontSize) >= 18.66 && s.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) poor.push(`${ratio.toFixed(2)} ${e.className} ${e.textContent.trim().slice(0, 40)}`);
  }
  return poor;
}"""

HISTORY = """
INSERT INTO tksva_q.job (form, user_id, file_name, params, state, attempt, spent, error, queued_at, started_at,
    finished_at, rows, total, bytes)
SELECT 'DownloadForStationForm', 1 + g % 9, place || ' 2024-01-01 — 2024-12-31.' || ext,
    json_build_object('station_name', place, 'start_date', '2024-01-01', 'finish_date', '2024-12-31'), state,
    1 + (state = 'failed')::int * 4, 1, CASE WHEN state = 'failed' THEN (ARRAY[
        'хранилище не отвечает: connection to server at "10.0.0.5", port 5432 failed: timeout expired',
        'station_name: пусто', 'the time limit of 21600 s has passed'])[g % 3 + 1] END,
    t - (30 + g % 50) * interval '1 s', t - (g % 37 + 4) * interval '1 s', t, rows, rows, rows * 360
FROM (SELECT g, (ARRAY['Ворсино', 'Шушары', 'Клещиха', 'Лена', 'Находка-Восточная'])[g % 5 + 1] AS place,
        (ARRAY['csv', 'xlsx'])[g % 2 + 1] AS ext, (g * 7919) % 90000 + 400 AS rows,
        CASE WHEN g % 23 = 0 THEN 'failed' WHEN g % 31 = 0 THEN 'cancelled' ELSE 'done' END AS state,
        now() - (200 - g) * (200 - g) * interval '2 s' AS t
    FROM generate_series(1, 199) g) x
"""


DEVICES = {"desk": (1200, 900), "phone": (390, 844)}


def test_every_page_can_be_read_in_light_and_dark_on_a_desk_and_a_phone(
    browser: Browser, installation: Installation
) -> None:
    installation.sql(HISTORY)
    installation.slowly(0.01)
    installation.run(chunk_size=100)
    page = browser.new_context(locale="ru-RU", device_scale_factor=1).new_page()
    page.goto(installation.web.url)
    for form, place, extension in (
        ("DownloadForRailwayForm", "Московская", "csv"),
        ("DownloadForRailwayForm", "Октябрьская", "xlsx"),
    ):
        fill(page, form, place, extension)
        page.locator(f"#{form} .primary").click()
    running = page.locator(".job").filter(has=page.locator("progress")).locator("a").first
    expect(running).to_be_visible(timeout=20_000)
    paths = {
        "overview": "/",
        "job": str(running.get_attribute("href")),
        "jobs": "/jobs?state=failed",
        "docs": "/docs",
        "message": "/nowhere",
    }
    for name, path in paths.items():
        page.goto(installation.web.url + path)
        if name == "overview":
            expect(page.locator(".figures .speed")).to_contain_text("строк/с", timeout=30_000)
        for scheme, device in itertools.product(("light", "dark"), DEVICES):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            width, height = DEVICES[device]
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(300)
            assert page.evaluate(CONTRAST) == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} is too wide"
            if PICTURES and name != "message":
                page.screenshot(path=f"{PICTURES}/{name}-{device}-{scheme}.png", full_page=name != "docs")
    page.context.close()
