"""What the editor is made of, each module alone: the bounds of its history, and its brush at the picture's edges."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

HISTORY = """
  const {History, HistoryBudget} = await import('/page/history.js');
  const step = (name, bytes) => ({name, bytes, swapped: 0, swap() { this.swapped += 1; }});
"""
BRUSH = """
  const {Alpha} = await import('/page/alpha.js');
  const {Stroke} = await import('/page/brush.js');
  const alpha = new Alpha(600, 300);
  const base = (key) => new Uint8Array(alpha.area(key).width * alpha.area(key).height).fill(100);
  const stroke = (points, radius = 20) => {
    const made = new Stroke(alpha, base, {to: 255, radius, name: 'restoring'});
    const areas = points.map(([x, y]) => made.extend({x, y}));
    return {areas, step: made.end()};
  };
  const all = () => Array.from({length: alpha.columns * 2}, (_, key) => [...(alpha.get(key) ?? base(key))]);
"""


def run(page: Page, modules: str, body: str) -> Any:
    return page.evaluate(f"async () => {{ {modules} {body} }}")


def test_history_keeps_fifty_steps(page: Page) -> None:
    body = """
      const history = new History(new HistoryBudget());
      for (let each = 0; each < 60; each += 1) history.push(step(each, 1));
      const undone = [];
      for (let each = history.undo(); each; each = history.undo()) undone.push(each.name);
      return [undone.length, undone[0], undone.at(-1), history.redoable];
    """
    assert run(page, HISTORY, body) == [50, 59, 10, 50]


def test_steps_of_all_photos_share_the_bytes_and_the_least_recent_photo_gives_first(page: Page) -> None:
    body = """
      const budget = new HistoryBudget(100);
      const [one, two] = [new History(budget), new History(budget)];
      for (const name of ['a', 'b']) one.push(step(name, 30));
      two.push(step('c', 30));
      two.push(step('d', 30)); // 120: the oldest of the first photo goes.
      const first = [one.undoable, two.undoable];
      two.push(step('e', 60)); // What is left of the first photo, then the oldest of the second.
      const second = [one.undoable, two.undoable, two.undo().name];
      const third = two.bytes;
      two.push(step('f', 1000)); // More than there is: nothing can be undone, and nothing breaks.
      return [first, second, third, [one.undo(), two.undo(), one.bytes + two.bytes]];
    """
    assert run(page, HISTORY, body) == [[1, 2], [0, 2, "e"], 90, [None, None, 0]]


def test_photo_that_is_gone_no_longer_counts(page: Page) -> None:
    body = """
      const budget = new HistoryBudget(100);
      const [one, two] = [new History(budget), new History(budget)];
      one.push(step('a', 90));
      budget.remove(one);
      two.push(step('b', 90));
      return two.undoable;
    """
    assert run(page, HISTORY, body) == 1


def test_undo_swaps_and_redo_swaps_back(page: Page) -> None:
    body = """
      const history = new History(new HistoryBudget());
      const made = step('a', 1);
      history.push(made);
      history.undo();
      history.redo();
      return [made.swapped, history.redo(), history.undoable];
    """
    assert run(page, HISTORY, body) == [2, None, 1]


def test_number_of_points_does_not_change_a_stroke(page: Page) -> None:
    body = """
      stroke([[30, 40], [530, 240]]);
      const quick = all();
      for (const key of alpha.keys) alpha.set(key, undefined);
      stroke(Array.from({length: 101}, (_, at) => [30 + 5 * at, 40 + 2 * at]));
      return quick.flat().reduce((most, value, at) => Math.max(most, Math.abs(value - slow[at])), 0);
    """.replace("return quick", "const slow = all().flat(); return quick")
    assert run(page, BRUSH, body) <= 1


def test_only_tiles_under_the_brush_are_held_and_swapping_restores_them(page: Page) -> None:
    body = """
      const before = all();
      const {step} = stroke([[255, 100], [258, 101]]);
      const after = all();
      step.swap();
      const undone = JSON.stringify(all()) === JSON.stringify(before);
      const held = alpha.keys;
      step.swap();
      return [step.keys, step.bytes, undone, held, JSON.stringify(all()) === JSON.stringify(after)];
    """
    assert run(page, BRUSH, body) == [[0, 1], 2 * 65536, True, [], True]


def test_stroke_beside_the_picture_is_no_step(page: Page) -> None:
    body = """
      const {areas, step} = stroke([[-50, -50], [700, -40]]);
      return [areas, step, alpha.changed];
    """
    assert run(page, BRUSH, body) == [[None, None], None, False]


def test_brush_larger_than_the_picture_reaches_every_corner(page: Page) -> None:
    body = """
      stroke([[300, 150]], 2000);
      return all().flat().every((value) => value === 255);
    """
    assert run(page, BRUSH, body) is True


def test_brush_smaller_than_a_pixel_leaves_its_neighbours(page: Page) -> None:
    body = """
      stroke([[10.5, 20.5]], 0.4);
      const [tile] = all();
      return [tile[20 * 256 + 10], tile[20 * 256 + 11], tile[19 * 256 + 10]];
    """
    assert run(page, BRUSH, body) == [255, 100, 100]
