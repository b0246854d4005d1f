"""Take photographs of the dashboard in all its states: `python -m tests.web.browser.photos FOLDER [STATE …]`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Literal

from playwright.async_api import Browser, async_playwright
from tests.web.conftest import Scene, scene
from tests.web.states import STATES, many, one, write_history, write_log

CHROMIUM = "/usr/bin/chromium"
WIDTHS = {"desktop": (1200, 900), "phone": (390, 844)}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


async def photograph(browser: Browser, web: Scene, folder: Path, name: str) -> None:
    """Photograph the first page in both widths and both schemes."""
    for scheme in SCHEMES:
        for width, (across, down) in WIDTHS.items():
            context = await browser.new_context(color_scheme=scheme, viewport={"width": across, "height": down})
            page = await context.new_page()
            await page.goto(f"{web.url}/?token={web.dashboard.keys.link()}")
            await page.screenshot(path=folder / f"{name}-{scheme}-{width}.png", full_page=True)
            await context.close()


async def main(folder: Path, wanted: list[str]) -> None:
    """Photograph the states."""
    scenes = {state: partial(one, state) for state in STATES}
    scenes |= {f"{count}-tunnels": partial(many, count) for count in (5, 50)}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name, make in scenes.items():
            if wanted and name not in wanted:
                continue
            home = Path(tempfile.mkdtemp())
            async with scene(home / "run") as web:
                prx = make(log=str(write_log(home / "prx.log")))
                write_history(home / "run" / "history", "prx-1", [item.name for item in prx.statuses()])
                await web.start("prx-1", prx)
                await photograph(browser, web, folder, name)
        if not wanted or "gone" in wanted:
            home = Path(tempfile.mkdtemp())
            async with scene(home / "run") as web:
                server = await web.start("prx-1", one("healthy", log=str(write_log(home / "prx.log"))))
                await server.__aexit__(None, None, None)
                await web.until(lambda: any(seen.gone_at for seen in web.dashboard.hub.seen))
                await photograph(browser, web, folder, "gone")
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2:]))
