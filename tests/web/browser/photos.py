"""Take photographs of the dashboard in all its states: `python -m tests.web.browser.photos FOLDER [STATE …]`.

`readme` is the picture of the README, which goes to docs/images.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.async_api import Browser, async_playwright
from tests.web.conftest import Scene, ScriptedPrx, scene
from tests.web.states import SHOWCASE_OUTAGES, STATES, many, one, showcase, write_history, write_log
from tests.web.traffic import inspected, visited

CHROMIUM = "/usr/bin/chromium"
WIDTHS = {"desktop": (1200, 900), "phone": (390, 844)}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
REQUESTS = "/tunnels/prx-1/default/requests"
PAGES: Mapping[str, str] = {
    "requests": REQUESTS,
    "requests-filtered": f"{REQUESTS}?filter=method:POST+path:/hook",
    "request": f"{REQUESTS}/1",
    "request-stream": f"{REQUESTS}/3",
    "request-large": f"{REQUESTS}/5",
    "requests-compared": f"{REQUESTS}/diff?id=1&id=2",
}
IMAGE = Path(__file__).parents[3] / "docs" / "images" / "dashboard.png"


@asynccontextmanager
async def shown(name: str, stack: AsyncExitStack) -> AsyncIterator[tuple[Scene, str]]:
    """Yield a dashboard in a state, and the path that shows it."""
    home = Path(tempfile.mkdtemp(prefix="prx-photos-"))
    stack.callback(shutil.rmtree, home, ignore_errors=True)
    async with scene(home / "run") as web:
        prx: ScriptedPrx
        if name in PAGES:
            seen, echo = await stack.enter_async_context(inspected(home / "caught"))
            await visited(seen, echo)
            prx = seen
        elif name.endswith("-tunnels"):
            prx = many(int(name.partition("-")[0]))
        elif name == "readme":
            prx = showcase()
        else:
            prx = one(name if name in STATES else "healthy")
        prx.log = str(write_log(home / "prx.log"))
        only = SHOWCASE_OUTAGES if name == "readme" else None
        write_history(web.folder / "history", "prx-1", [item.name for item in prx.statuses()], only=only)
        server = await web.start("prx-1", prx)
        if name == "gone":
            await server.__aexit__(None, None, None)
            await web.until(lambda: any(seen.gone_at for seen in web.dashboard.hub.seen))
        path = {"not-inspected": REQUESTS, "verdicts": "/verdicts"}.get(name) or PAGES.get(name, "/")
        yield web, path


async def photograph(browser: Browser, web: Scene, path: str, file: Path, **context: Any) -> None:
    """Open a page, with its folded parts open, and photograph it."""
    opened = await browser.new_context(**context)
    page = await opened.new_page()
    await page.goto(f"{web.url}/?token={web.dashboard.keys.link()}")
    await page.goto(web.url + path)
    await page.evaluate("document.querySelectorAll('details.why').forEach((item) => { item.open = true; })")
    await page.screenshot(path=file, full_page=file != IMAGE)
    await opened.close()


async def main(folder: Path, wanted: list[str]) -> None:
    """Photograph the states."""
    names = [*STATES, "5-tunnels", "50-tunnels", "gone", "verdicts", "not-inspected", *PAGES, "readme"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name in wanted or names:
            async with AsyncExitStack() as stack, shown(name, stack) as (web, path):
                if name == "readme":
                    await photograph(browser, web, path, IMAGE, color_scheme="light", viewport={"width": 1000, "height": 822})
                    continue
                for scheme in SCHEMES:
                    for width, (across, down) in WIDTHS.items():
                        size = {"width": across, "height": down}
                        file = folder / f"{name}-{scheme}-{width}.png"
                        await photograph(browser, web, path, file, color_scheme=scheme, viewport=size)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2:]))
