"""The editor as a page of its own, in a browser, used with pointer and keys. Skipped in one line where there is
none."""

from __future__ import annotations

import pytest
from editor_page import Page, served


@pytest.fixture(scope="module")
def address():
    with served() as address:
        yield address


@pytest.fixture(scope="module", params=[1, 2], ids=["1x", "2x"])
def page(request, browser, address):
    page = Page(browser, address, request.param)
    yield page
    assert page.faults == []
    page.page.close()


@pytest.fixture(autouse=True)
def empty(page):
    page.press("Escape")
    page.page.evaluate(
        "() => { ed.finish(); ed.select(new Map()); ed.reset(); ed.setTool('spline'); ed.setFrame(0); stage.setViewport(null); }"
    )


def test_clicks_draw_where_they_are_seen(page):
    for place in [(100, 100), (300, 200), (500, 100)]:
        page.click(*place)
    page.press("Enter")
    assert all(abs(a - b) <= 1 for seen, meant in zip(page.points(), [(100, 100), (300, 200), (500, 100)])
               for a, b in zip(seen, meant))  # fmt: skip


def test_a_point_is_dragged_inserted_and_deleted_and_all_of_it_is_undone(page):
    for place in [(100, 200), (500, 200)]:
        page.click(*place)
    page.press("Enter")
    page.drag((500, 200), (510, 220), (600, 300))
    assert page.points()[1][0] in (599, 600, 601)
    page.click(*[sum(pair) / 2 for pair in zip(*page.points())])
    assert len(page.points()) == 3
    page.press("Delete")
    assert len(page.points()) == 2
    for _ in range(4):
        page.press("Control+z")
    assert len(page.points()) == 1
    page.press("Control+Shift+z")
    assert len(page.points()) == 2


def test_a_double_click_ends_the_track_and_inserts_in_the_select_tool(page):
    page.click(100, 200)
    page.click(500, 200, click_count=2)
    assert page.page.evaluate("() => ed.drawing") is None
    assert len(page.points()) == 2
    page.press("v")
    page.page.wait_for_timeout(400)
    page.click(300, 200, click_count=2)
    assert len(page.points()) == 3


def test_keys_step_frames_and_hide_a_track(page):
    page.click(100, 100)
    page.click(400, 100)
    page.press("Enter")
    for _ in range(5):
        page.press("]")
    page.press("k")
    assert page.document["tracks"][0]["visibility"] == [[0, 4]]


def test_a_track_is_renamed_in_the_list_with_enter_or_by_looking_elsewhere_and_not_with_escape(page):
    page.click(100, 100)
    page.press("Enter")
    for key, name in (("Enter", "wing"), ("Tab", "tip"), ("Escape", "tip")):
        page.page.locator(".tse-row .tse-name").dblclick()
        page.page.keyboard.type("nothing" if key == "Escape" else name)
        page.press(key)
        assert page.document["tracks"][0]["name"] == name
        assert page.page.locator(".tse-row .tse-name").inner_text() == name
    assert page.faults == []


def test_names_are_text_and_nothing_in_them_runs(page):
    page.click(100, 100)
    page.page.evaluate("() => { const d = JSON.parse(JSON.stringify(ed.document)); "
                       "d.tracks[0].name = '<img src=x onerror=\"window.bad = 1\">'; ed.load(JSON.stringify(d)); }")  # fmt: skip
    page.page.wait_for_function("() => document.querySelector('.tse-row .tse-name')?.textContent.startsWith('<img')")
    assert page.page.evaluate("() => [window.bad, document.querySelectorAll('.tse-row img').length]") == [None, 0]


def test_the_wheel_zooms_at_the_pointer(page):
    place = [round(value) for value in page.at(200, 150)]
    under = "([x, y]) => { const at = stage.at({ clientX: x, clientY: y }); return [at.x, at.y]; }"
    before = page.page.evaluate(under, place)
    page.page.mouse.move(*place)
    page.page.mouse.wheel(0, -400)
    page.page.wait_for_function("() => stage.viewport !== null")
    assert page.page.evaluate("() => stage.viewport.scale") > 1.5
    assert max(abs(a - b) for a, b in zip(before, page.page.evaluate(under, place))) < 0.5


def test_the_picture_stays_where_it_is_when_the_first_track_is_drawn(page):
    before = page.page.evaluate("() => JSON.stringify(stage.view)")
    page.click(100, 100)
    page.page.wait_for_function("() => document.querySelectorAll('.tse-lane-row').length === 1")
    assert page.page.evaluate("() => JSON.stringify(stage.view)") == before


def send(page, kind, id, x, y, name, **more):
    """A pointer event of a pen or a finger."""
    x, y = page.at(x, y)
    event = {
        "pointerType": kind,
        "pointerId": id,
        "clientX": x,
        "clientY": y,
        "bubbles": True,
        "isPrimary": True,
        "buttons": 1,
        **more,
    }
    page.page.evaluate("([name, event]) => stage.element.dispatchEvent(new PointerEvent(name, event))", [name, event])


def test_a_pen_draws_with_its_own_speed(page):
    page.press("f")
    send(page, "pen", 7, 100, 100, "pointerdown", pressure=0.5)
    for x in (200, 300, 400):
        send(page, "pen", 7, x, 100 + x / 10, "pointermove", pressure=0.5)
    send(page, "pen", 7, 400, 140, "pointerup")
    (track,) = page.document["tracks"]
    assert track["kind"] == "freehand" and track["points"][0]["t"] == 0 and track["points"][-1]["t"] == 1
    assert page.points()[-1] == (400, 140)


def test_a_finger_draws_and_two_fingers_zoom_and_draw_nothing(page):
    for x in (100, 300):
        send(page, "touch", 1, x, 200, "pointerdown")
        send(page, "touch", 1, x, 200, "pointerup")
    assert page.points() == [(100, 200), (300, 200)]
    page.press("Enter")
    before = page.page.evaluate("() => stage.view.scale")
    places = {1: page.at(300, 300), 2: page.at(400, 300)}
    spread = {1: page.at(250, 300), 2: page.at(450, 300)}
    for name, at in (("pointerdown", places), ("pointermove", spread), ("pointerup", spread)):
        for id, (x, y) in at.items():
            event = {"pointerType": "touch", "pointerId": id, "clientX": x, "clientY": y, "bubbles": True, "buttons": 1}
            page.page.evaluate(
                "([name, event]) => stage.element.dispatchEvent(new PointerEvent(name, event))", [name, event]
            )
    assert abs(page.page.evaluate("() => stage.view.scale") / before - 2) < 0.05
    assert len(page.document["tracks"]) == 1 and len(page.points()) == 2


def test_a_handle_is_felt_from_further_away_by_a_finger(page):
    page.click(100, 200)
    page.click(500, 200)
    page.press("Enter")
    page.press("v")
    near = 15 / page.page.evaluate("() => stage.view.scale")
    hits = """([pointerType, clientX, clientY]) => {
        const init = {pointerType, pointerId: 9, clientX, clientY, bubbles: true}
        stage.element.dispatchEvent(new PointerEvent('pointermove', init))
        return ed.hover?.kind ?? null
    }"""
    place = page.at(100 - near, 200)
    assert [page.page.evaluate(hits, [kind, *place]) for kind in ("mouse", "touch")] == [None, "point"]


def test_the_cheat_sheet_names_every_key(page):
    page.press("?")
    shown = page.page.locator(".tse-sheet kbd").all_inner_texts()
    assert {"V", "S", "F", "P", "C", "G", "H", "K", "R", "E", "L", "O", "?", "Ctrl Z", "Space", "Del"} <= set(shown)
    page.press("?")
    assert page.page.locator(".tse-sheet").count() == 0


def test_every_button_and_field_says_what_it_is(page):
    page.click(100, 200)
    page.click(300, 200)
    for tool in ("c", "g"):
        page.press(tool)
        page.click(500, 300)
        silent = page.page.evaluate("() => [...document.querySelectorAll('.tse button, .tse input:not([type=hidden])')]"
                                    ".filter(e => !e.title && !e.ariaLabel && !e.closest('label')?.title).map(e => e.outerHTML)")  # fmt: skip
        assert silent == []


def test_dragging_redraws_only_what_is_selected(page):
    page.load_fifty()
    page.page.evaluate("""() => {
        ed.selectTracks(['t1'])
        stage.draw()
        window.backs = 0
        const back = stage.back.getContext('2d'), clear = back.clearRect
        back.clearRect = function (...a) { window.backs++; clear.apply(this, a) }
    }""")
    page.page.evaluate("() => { ed.begin(); for (let i = 0; i < 20; i++) { ed.move(1, 1); stage.draw(); } ed.end(); }")
    assert page.page.evaluate("() => window.backs") == 0


def test_what_is_dragged_looks_as_if_all_had_been_drawn_anew(page):
    page.load_fifty()
    page.page.evaluate("() => { ed.selectTracks(['t1', 't7']); stage.draw(); ed.begin(); "
                       "for (let i = 0; i < 5; i++) { ed.move(9, 4); stage.draw(); } ed.end(); }")  # fmt: skip
    seen = "() => [stage.back, stage.front].map(layer => layer.toDataURL())"
    partial = page.page.evaluate(seen)
    page.page.evaluate("() => { stage.stale = { back: true, front: true }; stage.draw(); }")
    assert page.page.evaluate(seen) == partial
