"""What is published of a tunnel's health: the verdict that is shown, and the public URL.

A bad verdict about a ready tunnel is kept back until it has lasted for its `visible_after` (timer suspicion), so that one
that comes and goes is not shown.
"""

from __future__ import annotations

import re
from dataclasses import replace

from prx.core import events
from prx.core.cadence import Cadence
from prx.core.damping import FlapDamper
from prx.core.outbox import Outbox
from prx.core.verdicts import PROVES_URL, Diagnosis, Verdict

_NUMBERS = re.compile(r"\d+")


class Display:
    """What is shown of the tunnel `name`: `diagnosis`, and the proven `url`."""

    def __init__(self, name: str, out: Outbox, cadence: Cadence) -> None:
        self.diagnosis: Diagnosis | None = None
        self.url = ""
        self._unproven = ""
        self._name = name
        self._out = out
        self._cadence = cadence
        self._suspicion = FlapDamper()
        self._since: float | None = None  # when the trouble that is to be shown now was first seen

    @property
    def suspects(self) -> bool:
        """Return whether a verdict is kept back."""
        return bool(self._suspicion)

    def shows(self, verdict: Verdict) -> bool:
        """Return whether `verdict` is the one that is shown."""
        return self.diagnosis is not None and self.diagnosis.verdict is verdict

    def show(self, diagnosis: Diagnosis) -> None:
        """Show a diagnosis; it is published if it is news."""
        since, self._since = self._since, None
        if since is not None:
            diagnosis = replace(diagnosis, since=since)
        old, self.diagnosis = self.diagnosis, diagnosis
        if old is None or _news(old) != _news(diagnosis):
            self._out.publish(
                events.VerdictChanged(
                    tunnel=self._name,
                    old=old.verdict if old else "",
                    new=diagnosis.verdict,
                    reason=diagnosis.reason,
                    hint=diagnosis.hint,
                )
            )

    def show_checked(self, diagnosis: Diagnosis) -> None:
        """Show what a check has found; after another verdict the next checks follow each other quickly."""
        if not self.shows(diagnosis.verdict):
            self._cadence.hurry()
        self.show(diagnosis)

    def publish_url(self, diagnosis: Diagnosis, url: str) -> None:
        """Publish the URL if it is proven, or cannot be proven from here, and is another one than before."""
        if not url or url == self.url:
            return
        proven = diagnosis.verdict in PROVES_URL
        if proven or (diagnosis.publish_unproven and url != self._unproven):
            self._out.publish(events.UrlChanged(tunnel=self._name, url=url, old=self.url, proven=proven))
        if proven:
            self.url = url
        elif diagnosis.publish_unproven:
            self._unproven = url

    def renew(self) -> None:
        """Take in that another child is started."""
        self.forget_suspicion()
        self._unproven = ""

    # ------------------------------------------------------------------ suspicion

    def is_settled(self, now: float, diagnosis: Diagnosis, *, at_once: bool) -> bool:
        """Return whether a diagnosis is to be shown now: `at_once`, or because it has lasted for long enough."""
        if at_once or self.shows(diagnosis.verdict):
            self.forget_suspicion()
            return True
        if not self._suspicion:
            self._cadence.hurry()
        left = self._suspicion.ends_in(now, diagnosis)
        if left <= 0:
            self._since = self._suspicion.since
            self.forget_suspicion()
            return True
        self._out.set_timer("suspicion", left)
        return False

    def end_suspicion(self) -> Diagnosis | None:
        """Return what has been suspected for long enough, None if nothing is."""
        diagnosis = self._suspicion.pending
        self._suspicion.forget()
        return diagnosis

    def forget_suspicion(self) -> None:
        """Suspect nothing."""
        self._suspicion.forget()
        self._out.drop_timer("suspicion")


def _news(diagnosis: Diagnosis) -> tuple[Verdict, str]:
    """Return what is news in a diagnosis: a number that changes, such as a port or an age, is none."""
    return diagnosis.verdict, _NUMBERS.sub("#", diagnosis.reason)
