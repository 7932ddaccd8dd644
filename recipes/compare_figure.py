"""The figure of a comparison."""


def draw(studies, titles, path):
    pass
