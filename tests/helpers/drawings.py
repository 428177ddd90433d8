"""What is drawn in a figure."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text


def ink(figure, artists, dpi=150):
    """Which pixels each artist darkens, drawn alone, as boolean arrays."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # settles tick labels
    masks = []
    for artist in artists:
        renderer = canvas.get_renderer()
        renderer.clear()
        artist.draw(renderer)
        masks.append(np.asarray(renderer.buffer_rgba())[..., 3] > 60)
    return masks


def texts(figure):
    FigureCanvasAgg(
        figure
    ).draw()  # a bare Figure has a canvas that draws nothing, hence no tick labels
    found = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    ticks = {
        label
        for ax in figure.axes
        for axis in (ax.xaxis, ax.yaxis)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        for label in (tick.label1, tick.label2)
    }
    shown = {
        label
        for ax in figure.axes
        for axis in (ax.xaxis, ax.yaxis)
        for label in axis.get_ticklabels(which="both")
        if _in_view(ax, axis, label)
    }
    return [t for t in found if t not in ticks or t in shown]


def _in_view(ax, axis, label):
    low, high = sorted(axis.get_view_interval())
    place = label.get_position()[0 if axis is ax.xaxis else 1]
    return low <= place <= high
