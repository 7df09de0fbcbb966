"""A contact sheet: many figures on one page, to be looked at."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image


COLUMNS = 2


def contact_sheet(pictures: Sequence[Path], path: Path) -> Path:
    """Write one picture that holds all `pictures`, at half their size, in rows of two."""
    images = [Image.open(picture).convert("RGB") for picture in pictures]
    halves = [image.resize((image.width // 2, image.height // 2)) for image in images]
    rows = [halves[i : i + COLUMNS] for i in range(0, len(halves), COLUMNS)]
    width = COLUMNS * max(image.width for image in halves)
    heights = [max(image.height for image in row) for row in rows]
    sheet = Image.new("RGB", (width, sum(heights)), images[0].getpixel((0, 0)))
    for number, row in enumerate(rows):
        for column, image in enumerate(row):
            sheet.paste(image, (column * width // COLUMNS, sum(heights[:number])))
    sheet.save(path)
    return path
