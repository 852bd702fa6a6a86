"""A dialog that queues a run."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

from textual import work

from core.errors import UserError
from dpotui.screens.modal import Modal

Asked = TypeVar("Asked")
# Workers of a dialog that say beforehand what would come of it.
LOOK = "look"


class Queueing(Modal[str | None], Generic[Asked]):
    """Gives back the id of the run, which was queued as the dialog stood the moment that was asked for.

    Until it is queued or refused no key of the dialog does anything: a run that is on its way is not cancelled by
    leaving, nor is it another one for a choice that was made since.
    """

    _queueing = False

    def asked(self) -> Asked:
        """What stands in the dialog; the same again compares equal."""
        raise NotImplementedError

    def submit(self, asked: Asked) -> str:
        """Queue it; called in a thread. Returns the run's id.

        Raises:
            UserError: it cannot be.
        """
        raise NotImplementedError

    def refuse(self, error: str) -> None:
        """Show why it cannot be."""
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return not self._queueing and super().check_action(action, parameters)

    def queue(self) -> None:
        if not self._queueing:
            self._queueing = True
            self.workers.cancel_group(self, LOOK)  # what it would say is said by the refusal, if anything
            self._queue(self.asked())

    @work(group="queue", exit_on_error=False)
    async def _queue(self, asked: Asked) -> None:
        try:
            run_id = await asyncio.to_thread(self.submit, asked)
        except UserError as error:
            # What was typed into a field since may have mended it.
            if asked == self.asked():
                self.refuse(str(error))
        else:
            self.dismiss(run_id)
        finally:
            self._queueing = False
