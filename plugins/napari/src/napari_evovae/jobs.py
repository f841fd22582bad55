"""Work in a thread of its own: its progress, how it is stopped, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari.qt.threading import WorkerBase, WorkerBaseSignals
from napari.utils import progress
from napari.utils.notifications import notification_manager, show_warning
from qtpy.QtCore import Signal

from evovae.notes import Note

if TYPE_CHECKING:
    from evovae import Progress

Callback = Callable[["Progress"], bool]


class Signals(WorkerBaseSignals):
    """Those of workers, and a share from 0 to 1."""

    progressed = Signal(float)


class Job(WorkerBase):
    """Something that takes long, and evovae's callback; `returned` gives the result, or None where there is none yet.

    A bar in napari's activity dock shows how far it is.
    """

    def __init__(self, work: Callable[[Callback], Any], title: str) -> None:
        super().__init__(SignalsClass=Signals)
        self._work, self._stopped, self._shown = work, False, progress(total=100, desc=title)
        self.progressed.connect(self._show)
        self.warned.connect(_warn)
        self.errored.connect(tell)
        self.finished.connect(self._shown.close)

    def stop(self) -> None:
        """Ask for an end with the best so far."""
        self._stopped = True

    def work(self) -> Any:  # noqa: ANN401 - what the work returns
        try:
            return self._work(self._report)
        except KeyboardInterrupt:  # there is nothing yet that would be worth returning
            return None

    def _report(self, done: Progress) -> bool:
        """In the thread, after each epoch; napari asks workers to quit when it is closed."""
        self.progressed.emit(done.share)
        return self._stopped or self.abort_requested

    def _show(self, share: float) -> None:
        self._shown.update(round(100 * share) - self._shown.n)


def tell(error: Exception) -> None:
    """Show an error as napari does: its sentence, and where it comes from for those who ask."""
    notification_manager.receive_error(type(error), error, error.__traceback__)


def _warn(caught: tuple) -> None:
    """Show what evovae warns of; other warnings are for programmers."""
    message, category, *_ = caught
    if issubclass(category, Note):
        show_warning(str(message))
