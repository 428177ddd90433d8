"""What is wrong with the layout of a figure: words on words, and words outside of the canvas."""

import numpy as np

from drawings import ink, texts


def faults(figure):
    """Sentences, none where every word can be read."""
    shown = texts(figure)
    canvas = figure.bbox
    boxes = [text.get_window_extent() for text in shown]
    out = []
    for text, box in zip(shown, boxes, strict=True):
        if box.x0 < -0.5 or box.y0 < -0.5 or box.x1 > canvas.x1 + 0.5 or box.y1 > canvas.y1 + 0.5:
            out.append(f"{text.get_text()!r} leaves the canvas")
    close = [
        (i, j) for i in range(len(boxes)) for j in range(i) if boxes[i].overlaps(boxes[j])
    ]  # boxes of turned words are larger than the words
    for i, j in close:
        one, other = ink(figure, [shown[i], shown[j]], dpi=figure.dpi)
        if np.logical_and(one, other).any():
            out.append(f"{shown[i].get_text()!r} is on {shown[j].get_text()!r}")
    return out
