"""What the edge has said to the registrations of one connector, over all its children that were started with the same settings.

A child that is replaced while the edge refuses takes its log along; for how long the edge has refused, and whether it ever
accepted this token, outlive it. Not for a quick tunnel: each of its children asks for a tunnel of its own.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Admission:
    """worked: a connection has been ready. *_since: the monotonic second since which the edge has refused, None if it does not.

    `rejected` is any refusal; `unauthorized` is what it says to a token that it does not know, `gone` to one whose tunnel it
    does not know.
    """

    worked: bool = False
    rejected_since: float | None = None
    unauthorized_since: float | None = None
    gone_since: float | None = None

    @property
    def refuses(self) -> bool:
        """Return whether the edge has refused since a connection was last ready."""
        return any(since is not None for since in (self.rejected_since, self.unauthorized_since, self.gone_since))

    def accept(self) -> None:
        """Take in that a connection is ready."""
        self.worked = True
        self.forget_refusals()

    def forget_refusals(self) -> None:
        """Begin to count again: the operator has asked for another try, or something has changed."""
        self.rejected_since = self.unauthorized_since = self.gone_since = None
