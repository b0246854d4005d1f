"""The page in a real Chromium: `make browser` runs this, with the browser and axe that it installs; `pytest` alone does not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright
from tests.web.browser.photos import CHROMIUM, WIDTHS
from tests.web.conftest import Scene, ScriptedPrx, scene
from tests.web.states import STATES, many, one, write_history, write_log
from tests.web.traffic import inspected, visited

from prx.core.events import UrlChanged
from prx.core.states import State
from prx.core.verdicts import Verdict

pytestmark = pytest.mark.filterwarnings("default")  # of the driver's own pipes
TIMEOUT = 20_000  # milliseconds


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Run Chromium."""
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        await running.close()


async def opened(browser: Browser, web: Scene, **context: Any) -> Page:
    """Open the first page with a link, and fail on any error of its script or its policy."""
    page = await (await browser.new_context(**context)).new_page()
    page.set_default_timeout(TIMEOUT)
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    await page.goto(f"{web.url}/?token={web.dashboard.keys.link()}")
    return page


async def show(web: Scene, tmp_path: Path, prx: ScriptedPrx) -> ScriptedPrx:
    """Show a prx with a log and a day of history; `prx-1` is its key."""
    prx.log = str(write_log(tmp_path / "prx.log"))
    write_history(web.folder / "history", "prx-1", [item.name for item in prx.statuses()])
    await web.start("prx-1", prx)
    return prx


async def examine(browser: Browser, web: Scene, paths: Iterable[str]) -> None:
    """Open pages in both schemes and both widths: axe finds nothing, and nothing is wider than the window."""
    for scheme, width in (("light", "desktop"), ("dark", "phone")):
        size = {"width": WIDTHS[width][0], "height": WIDTHS[width][1]}
        page = await opened(browser, web, color_scheme=scheme, viewport=size)
        for path in paths:
            await page.goto(web.url + path)
            found = await Axe().run(page)
            assert not found.response["violations"], (path, scheme, found.generate_report())
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (path, width)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", [*STATES, "many"])
async def test_axe_finds_nothing(browser: Browser, web: Scene, tmp_path: Path, name: str) -> None:
    """No state of the page, light or dark, wide or narrow, has a fault that axe knows."""
    await show(web, tmp_path, many(10) if name == "many" else one(name))
    await examine(browser, web, ("/", "/verdicts", "/login") if name == "healthy" else ("/",))


@pytest.mark.timeout(200)
async def test_axe_finds_nothing_in_requests(browser: Browser, web: Scene, tmp_path: Path) -> None:
    """Nor have the pages about requests, also of a tunnel that is not inspected."""
    async with inspected(tmp_path / "caught") as (prx, echo):
        prx.track("other", **STATES["healthy"])
        await visited(prx, echo)
        await show(web, tmp_path, prx)
        here = "/tunnels/prx-1/default/requests"
        other = "/tunnels/prx-1/other/requests"
        await examine(browser, web, (here, f"{here}/1", f"{here}/3", f"{here}/diff?id=1&id=2", f"{here}/diff", other))


async def test_requests_are_followed_compared_and_sent_again(browser: Browser, web: Scene, tmp_path: Path) -> None:
    """New requests appear by themselves and keep the marks; the filter works while one types; the keyboard sends one again."""
    async with inspected(tmp_path / "caught") as (prx, echo):
        await visited(prx, echo)
        await show(web, tmp_path, prx)
        page = await opened(browser, web)
        await page.get_by_role("link", name="Requests of default").click()
        await page.locator("#pick-1").focus()
        await page.keyboard.press("Space")
        await page.locator("#pick-2").check()
        await prx.post("/later", b"it=3")
        await page.locator("#requests").get_by_text("POST /later").wait_for()
        assert await page.locator("#requests input:checked").count() == 2
        assert await page.evaluate("document.activeElement.id") == "pick-2"
        await page.get_by_role("button", name="Compare the two marked").click()
        await page.locator("ins", has_text="it=2").wait_for()
        await page.get_by_role("link", name="requests", exact=True).click()
        await page.get_by_label("Filter").fill("status:5xx")
        await page.locator("#requests li").nth(1).wait_for(state="detached")
        await page.locator("#request-2").focus()
        await page.keyboard.press("Enter")
        await page.get_by_role("button", name="Send it again").focus()
        await page.wait_for_load_state()  # its script answers the key
        await page.keyboard.press("Enter")
        await page.get_by_role("dialog").get_by_text("Send POST /hook").wait_for()
        asked = len(echo.heads)
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.get_by_role("link", name="Show it").click()
        await page.get_by_text("replay of 2").wait_for()
        assert len(echo.heads) == asked + 1


async def test_requests_read_without_a_script(browser: Browser, web: Scene, tmp_path: Path) -> None:
    """Without JavaScript the list, the filter, a request and the comparison work; what could do nothing is not shown."""
    async with inspected(tmp_path / "caught") as (prx, echo):
        await visited(prx, echo)
        await show(web, tmp_path, prx)
        page = await opened(browser, web, java_script_enabled=False)
        await page.get_by_role("link", name="Requests of default").click()
        await page.locator("#pick-1").check()
        await page.locator("#pick-2").check()
        await page.get_by_role("button", name="Compare the two marked").click()
        assert any("it=1" in text for text in await page.locator("del").all_inner_texts())
        await page.go_back()
        await page.get_by_label("Filter").fill("status:5xx")
        await page.get_by_role("button", name="Filter").click()
        assert await page.locator("#requests li").count() == 1
        await page.locator("#request-2").click()
        await page.wait_for_load_state()  # with its style sheet, which hides the button
        assert "it=2" in await page.locator("main").inner_text()
        assert not await page.get_by_role("button", name="Send it again").is_visible()


async def test_the_keyboard_reaches_every_action(browser: Browser, web: Scene, tmp_path: Path) -> None:
    """With Tab alone every link, button, field and picture with parts is reached, and Enter confirms or cancels an action."""
    prx = await show(web, tmp_path, one("healthy"))
    page = await opened(browser, web)
    reached = []
    for _ in range(60):
        await page.keyboard.press("Tab")
        reached.append(
            await page.evaluate(
                "(e => e.dataset.post || e.textContent.trim() || e.name || e.className)(document.activeElement)"
            )
        )
    for wanted in ("restart?", "stop?", "reload?", "doctor?", "QR code", "Outages", "Copy", "level", "healthy", "7 days"):
        assert any(wanted in item for item in reached), (wanted, reached)
    await page.locator(".bar rect").last.focus()
    said = []
    for _ in range(6):
        await page.keyboard.press("ArrowLeft")
        said.append(await page.locator(".says").inner_text())
    assert any("crashed" in text for text in said), said
    for key, asked in (("Escape", []), ("Enter", [("restart", "default")])):
        await page.get_by_role("button", name="Restart default").focus()
        await page.keyboard.press("Enter")
        await page.get_by_role("dialog").wait_for()
        if key == "Enter":
            await page.keyboard.press("Tab")
        await page.keyboard.press(key)
        await page.get_by_role("dialog").wait_for(state="hidden")
        if asked:
            await page.get_by_text("restarting default").wait_for()
        assert prx.asked == asked


async def test_the_page_follows(browser: Browser, web: Scene, tmp_path: Path) -> None:
    """A change shows by itself, is announced, and takes neither the focus nor an open part of the page from its reader."""
    prx = await show(web, tmp_path, one("healthy"))
    page = await opened(browser, web)
    await page.get_by_text("QR code").click()
    await page.locator("#copy-prx-1--default").focus()
    prx.publish(UrlChanged(tunnel="default", url="https://other-name.trycloudflare.com", old="x"))
    prx.become("default", State.DEGRADED, Verdict.ORIGIN_DOWN, "connection refused", "start it")
    await page.locator(".verdict").get_by_text("the local service does not answer").wait_for()
    assert "the local service does not answer" in await page.locator("#said").inner_text()
    assert await page.evaluate("document.activeElement.id") == "copy-prx-1--default"
    assert await page.locator("details.qr").get_attribute("open") is not None


async def test_the_countdown_counts_down(browser: Browser, web: Scene, tmp_path: Path) -> None:
    """The next try counts down by itself, without an event."""
    await show(web, tmp_path, one("edge-lost"))
    page = await opened(browser, web)
    before = await page.locator("[data-until]").inner_text()
    await page.wait_for_function("before => document.querySelector('[data-until]').textContent !== before", arg=before)


async def test_an_end_of_prx_and_of_the_dashboard_is_said(browser: Browser, tmp_path: Path) -> None:
    """A prx that ends and comes back is said on the page; so is a dashboard that does not answer any more."""
    async with scene(tmp_path / "run") as web:
        server = await web.start("prx-1", one("healthy"))
        page = await opened(browser, web)
        await server.__aexit__(None, None, None)
        await page.get_by_text("prx is not running").wait_for()
        await web.start("prx-1", one("healthy", pid=4712))
        await page.get_by_text("prx was started again").wait_for()
        web.dashboard.stop()
        await page.locator("#lost", has_text="It goes on by itself").wait_for()


async def test_hostile_lines_do_nothing(browser: Browser, web: Scene, tmp_path: Path) -> None:
    """What strangers wrote into the log is text in the page, also after the script has replaced it."""
    prx = await show(web, tmp_path, one("healthy"))
    page = await opened(browser, web)
    await page.evaluate("void (window.alert = () => { window.owned = true; })")
    await page.get_by_label("From level").select_option("error")
    await page.locator("#log li").nth(0).get_by_text("<script>alert(1)</script>").wait_for()
    prx.become("default", State.DEGRADED, Verdict.ORIGIN_ERROR, "<img src=x onerror=alert(1)>")
    await page.locator(".reason").get_by_text("<img src=x").wait_for()
    assert await page.evaluate("[window.owned, document.querySelectorAll('main img[src=x]').length]") == [None, 0]


async def test_it_reads_without_a_script(browser: Browser, web: Scene, tmp_path: Path) -> None:
    """Without JavaScript the whole page reads, the filter works, and buttons that could do nothing are not shown."""
    await show(web, tmp_path, one("origin-down"))
    page = await opened(browser, web, java_script_enabled=False)
    assert "connection refused" in await page.locator("main").inner_text()
    assert not await page.get_by_role("button", name="Restart default").is_visible()
    await page.get_by_label("From level").select_option("warn")
    await page.get_by_role("button", name="Filter").click()
    assert await page.locator("#log li").count() == 2


async def test_a_copy_is_a_copy(browser: Browser, web: Scene, tmp_path: Path) -> None:
    """The button copies the URL, and says so."""
    await show(web, tmp_path, one("healthy"))
    page = await opened(browser, web, permissions=["clipboard-read", "clipboard-write"])
    await page.get_by_role("button", name="Copy the URL of default").click()
    await page.get_by_text("Copied https://mighty-mountain").wait_for()
    assert await page.evaluate("navigator.clipboard.readText()") == "https://mighty-mountain-ghgk.trycloudflare.com"
