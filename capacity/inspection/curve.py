"""A curve in characters, for terminals."""

from __future__ import annotations

from collections.abc import Sequence

from capacity.base.words import WIDTH, count, digits

HEIGHT = 10  # rows of points
MARK, ABOVE = "*", "^"
FEW = 0.05  # part of the points that may stand above the rows, where the others need the room


def lines(
    points: Sequence[tuple[float, float]], x_name: str, width: int = WIDTH, height: int = HEIGHT
) -> list[str]:
    """Points (x, y) as rows of characters, y upwards from the smallest value to the largest; a
    column that holds several points marks their mean. Below them the range of x. Where a few
    points, as those of the first steps, are so high that the others would lie in less than half of
    the rows, they are marked ABOVE in the top row."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high = min(ys), max(ys)
    rest = sorted(ys)[: max(1, len(ys) - max(1, int(FEW * len(ys))))][-1]
    if low < rest < low + (high - low) / 2:
        high = rest
    labels = [digits(high, 3), digits((low + high) / 2, 3), digits(low, 3)]
    edge = max(map(len, labels)) + 3  # two blanks in front, one behind
    room = width - edge - 1
    first, last = min(xs), max(xs)
    by_column: dict[int, list[float]] = {}
    for x, y in points:
        place = 0.0 if last == first else (x - first) / (last - first)
        by_column.setdefault(round(place * (room - 1)), []).append(y)
    grid = [[" "] * room for _ in range(height)]
    for column, some in by_column.items():
        mean = sum(some) / len(some)
        part = 0.5 if high == low else (mean - low) / (high - low)
        mark = ABOVE if part > 1 else MARK
        grid[height - 1 - round(min(1.0, part) * (height - 1))][column] = mark
    ticks = {0: labels[0], height // 2: labels[1], height - 1: labels[2]}
    if high == low:
        ticks = {height - 1 - round(0.5 * (height - 1)): labels[0]}
    out = [f"{ticks.get(i, ''):>{edge - 1}} |{''.join(row)}".rstrip() for i, row in enumerate(grid)]
    right = f"{count(last)} {x_name}"
    axis = f"{'':>{edge}}{count(first):<{room - len(right) + 1}}{right}"
    if any(y > high for y in ys):
        axis += f"\n{'':>{edge}}{ABOVE}: above, up to {digits(max(ys), 3)}"
    return [*out, f"{'':>{edge}}+{'-' * (room - 1)}", *axis.splitlines()]
