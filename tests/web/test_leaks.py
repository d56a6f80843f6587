"""What stays behind when the large editor has been opened and closed many times: nothing."""

from editor_page import Page, served

CYCLES = """async count => {
    const { Compact } = await import('./widget.js')
    const { Editor } = await import('./editor.js')
    window.opened ??= new Compact(window.edited ??= new Editor(), { background: {} })
    document.body.append(window.opened.element)
    for (let i = 0; i < count; i++) {
        const overlay = window.opened.open()
        overlay.help()
        await new Promise(requestAnimationFrame)
        overlay.close()
    }
    window.opened.element.remove()
    return window.edited.listeners.size
}"""


def test_two_hundred_openings_leave_no_listeners_elements_or_memory_behind(browser):
    with served() as address:
        leaves_nothing(Page(browser, address))


def leaves_nothing(page):
    tools = page.page.context.new_cdp_session(page.page)
    tools.send("Performance.enable")

    def cycle(count):
        listeners = page.page.evaluate(CYCLES, count)
        for _ in range(2):
            tools.send("HeapProfiler.collectGarbage")
        found = {entry["name"]: entry["value"] for entry in tools.send("Performance.getMetrics")["metrics"]}
        return [listeners, found["JSEventListeners"], found["Nodes"], found["JSHeapUsedSize"] / 2**20]

    cycle(20)  # compiled code, caches
    before, after = cycle(1), cycle(200)
    assert after[0] == before[0]
    assert after[1] - before[1] < 20 and after[2] - before[2] < 100, (before, after)  # one opening has hundreds of both
    assert after[3] - before[3] < 1, (before, after)
    assert page.faults == []
    page.page.close()
