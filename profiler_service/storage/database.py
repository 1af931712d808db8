"""A database behind a store: its two kinds of transaction, and how long they wait for what will pass."""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Self, TypeVar

from sqlalchemy.orm import Session

from profiler_service.errors import DatabaseError
from profiler_service.storage.location import Location

Result = TypeVar("Result")

BUSY_TIMEOUT_S = 30.0
"""How long a writer waits for another; transactions here take milliseconds, so longer means that one hangs."""

CHECK_TIMEOUT_S = 2.0
"""How long `Database.check` waits for a writer: who asks whether the database can be written wants to know soon."""

KEPT_CONNECTIONS = 5
"""Idle ones; more are opened where more are needed at once, which costs a fraction of a millisecond each on a file."""


@dataclass(frozen=True)
class Patience:
    """How long transactions are tried again while the database cannot be used for a passing reason.

    Attributes:
        limit_s: after which the problem is raised.
        on_wait: called with the problem before each new attempt.
        stopped: once true, the problem is raised.
        busy_timeout_s: how long one attempt waits for another writer.
        pause_s: between two attempts.
        clock: seconds that never go back. sleep: for so many seconds.
    """

    limit_s: float
    on_wait: Callable[[DatabaseError], None]
    stopped: Callable[[], bool]
    busy_timeout_s: float = 2.0
    pause_s: float = 0.5
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def tried(self, transaction: Callable[[], Result]) -> Result:
        """What the transaction returns, as soon as it succeeds. Raises DatabaseError when that takes too long."""
        start_s = self.clock()
        while True:
            try:
                return transaction()
            except DatabaseError as problem:
                if not problem.passing or self.stopped() or self.clock() - start_s >= self.limit_s:
                    raise
                self.on_wait(problem)
            self.sleep(self.pause_s)


class Database(ABC):
    """Connections to one database, for any number of threads. Each thread that asks gets one: nobody waits for a connection.

    Args:
        location: an existing database of the current schema; see `profiler_service.storage.upgrade`.
        patience: tries transactions again; by default none is.
    """

    def __init__(self, location: Location, patience: Patience | None) -> None:
        self.location, self._patience = location, patience
        self._guard: Callable[[Session], None] | None = None
        self._written = Writers()

    def guarded(self, guard: Callable[[Session], None]) -> Self:
        """The same connections; each `write` calls the guard first, after its own, in its transaction.

        What the guard raises is raised, and nothing is written.
        """
        found, own = copy.copy(self), self._guard

        def both(session: Session) -> None:
            if own is not None:
                own(session)
            guard(session)

        found._guard = both
        return found

    def patient(self, patience: Patience, guard: Callable[[Session], None] | None = None) -> Self:
        """The same database by connections of its own, which wait as told.

        Args:
            patience: how they wait.
            guard: called at the beginning of each write; what it raises is raised, and nothing is written.
        """
        found = self._again(patience)
        found._guard, found._written = guard, self._written
        return found

    def read(self, function: Callable[[Session], Result]) -> Result:
        """What the function makes of one consistent state. Raises DatabaseError."""

        def transaction() -> Result:
            with self._reading() as session:
                return function(session)

        return self._patiently(transaction)

    def write(self, function: Callable[[Session], Result]) -> Result:
        """What the function returns, once all that it changed is committed; nothing is where it raises anything.

        It holds the write lock from the start: a transaction that reads and then writes can neither deadlock with
        another one nor act on what another has changed meanwhile. A patient database may call it several times.

        Raises:
            DatabaseError: the database cannot be used.
        """

        def transaction() -> Result:
            with self._writing() as session, self._written:
                if self._guard is not None:
                    self._guard(session)
                return function(session)

        return self._patiently(transaction)

    @abstractmethod
    def check(self) -> None:
        """Raises DatabaseError unless the database is there, is the one that was opened, and can be written."""

    @abstractmethod
    def close(self) -> None:
        """Close every connection that is not in use."""

    @abstractmethod
    def _again(self, patience: Patience) -> Self:
        """The same database by connections of its own."""

    @abstractmethod
    def _reading(self) -> AbstractContextManager[Session]:
        """A transaction that sees one consistent state."""

    @abstractmethod
    def _writing(self) -> AbstractContextManager[Session]:
        """A transaction that no other writes beside."""

    def _patiently(self, transaction: Callable[[], Result]) -> Result:
        return transaction() if self._patience is None else self._patience.tried(transaction)


class Writers:
    """How many threads hold the write lock by this process's connections: one, or none."""

    def __init__(self) -> None:
        self._count = 0

    @property
    def any(self) -> bool:
        """Whether one does."""
        return self._count > 0

    def __enter__(self) -> None:
        """By whoever holds the database's write lock, hence by one thread at a time."""
        self._count += 1

    def __exit__(self, *_: object) -> None:
        """Before it is given up."""
        self._count -= 1
