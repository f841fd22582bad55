"""Progress reports of a running restoration: numbers after each epoch, and from time to time the picture so far."""

import math
import threading
import time
from pathlib import Path

from evovae.io import Content, write_atomically
from evovae.remaining import Remaining
from evovae.restore import Progress
from evovae.web import diary
from evovae.web.layout import arranged, plane, upright
from evovae.web.names import PREVIEW
from evovae.web.paint import grey, png
from evovae.web.schemas import Picture

PAUSE, SHARE = 1.0, 0.2  # seconds between previews, and how much of all time they may take


class Telling:
    """Notes progress in a job's diary, and its preview beside it; as a callback, it says when to stop."""

    def __init__(self, folder: Path, content: Content, picture: Picture) -> None:
        self.folder, self.content, self.picture = folder, content, picture
        self.stop = threading.Event()
        self.began, self.remaining = time.monotonic(), Remaining()
        self.page, self.pages, self.previews = 0, 1, 0
        self.next_preview = 0.0

    def begin(self, page: int, pages: int) -> None:
        """The next page."""
        self.page, self.pages, self.next_preview = page, pages, 0.0

    def __call__(self, report: Progress) -> bool:
        share = (self.page + report.share) / self.pages
        seconds = time.monotonic() - self.began
        diary.note(
            self.folder,
            "epoch",
            page=self.page,
            pages=self.pages,
            model=report.model,
            epoch=report.epoch,
            epochs=report.epochs,
            elbo=_finite(report.elbo),
            sigma=_finite(report.sigma),
            new=_finite(report.substitutions),
            share=share,
            seconds=seconds,
            left=_finite(self.remaining(share)),
        )
        if seconds >= self.next_preview:
            self._preview(report)
        return self.stop.is_set()

    def _preview(self, report: Progress) -> None:
        began = time.monotonic()
        page = self.content.page(self.page) if self.content.batch_axes else self.content
        values = arranged(page.replaced(report.preview()))
        middle = upright(plane(values, values.shape[1] // 2), self.picture.orientation)
        image = png(grey(middle, self.picture.low, self.picture.high))
        write_atomically(self.folder / PREVIEW, lambda file: file.write(image))
        self.previews += 1
        diary.note(self.folder, "preview", number=self.previews, page=self.page, epoch=report.epoch)
        now = time.monotonic()
        self.next_preview = now - self.began + max(PAUSE, (now - began) / SHARE)


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
