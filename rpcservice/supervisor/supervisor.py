"""Supervisor, which starts the workers, starts them again, and stops them."""

import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import Any

from rpcservice.errors import ConfigError
from rpcservice.supervisor.channel import Failure
from rpcservice.supervisor.handover import listener_name
from rpcservice.supervisor.listeners import Listeners
from rpcservice.supervisor.rolling import roll
from rpcservice.supervisor.slot import Slot
from rpcservice.supervisor.terminal import Terminal
from rpcservice.supervisor.wakeups import Wakeups
from rpcservice.supervisor.worker import Worker

_log = logging.getLogger("rpcservice.supervisor")

_STOPS = (signal.SIGTERM, signal.SIGINT)
_SIGNALS = (*_STOPS, signal.SIGHUP, signal.SIGCHLD)
_AT_AN_END = object()
_MISTAKE = 2
"""The exit code for what is wrong with services or configuration, and not with the moment."""


class Supervisor:
    """Keeps so many workers running, until a signal stops all or none of them can be started.

    Args:
        count: How many.
        stop_limit: Seconds after which a worker that was told to stop is ended, until it has told of its own limit.
        start_limit: Seconds that a new worker may take to be up in a rolling restart; None for as long as it takes.
        announce: Called once, when all workers are up, with what the first of them says of its services.
    """

    def __init__(
        self,
        count: int,
        *,
        stop_limit: float,
        start_limit: float | None,
        announce: Callable[[Sequence[str]], object],
    ) -> None:
        self._slots = [Slot(number) for number in range(1, count + 1)]
        self._stop_limit = stop_limit
        self._start_limit = start_limit
        self._announce = announce
        self._listeners = Listeners()
        self._terminal = Terminal()
        self._workers: list[Worker] = []
        self._generation = 0
        self._lines: list[str] | None = None
        self._is_announced = False
        self._stops = 0
        self._rolled = 0
        self._roll: Iterator[None] | None = None
        self._may_close_listeners = False
        self._first_failures: list[Worker] = []
        self._failure: Failure | None = None

    def run(self) -> Failure | None:
        """Supervise to the end; gives what went wrong, if anything.

        Raises:
            OSError: The system starts no process.
        """
        with Wakeups(_SIGNALS) as self._wakeups:
            try:
                for slot in self._slots:
                    slot.fill(self._start(slot.number))
                while self._workers or not self._is_ending:
                    self._turn()
            finally:
                self._listeners.keep(())
                # There are none left, unless it is an error that ends this.
                for worker in self._workers:
                    worker.leave()
        return self._failure

    @property
    def _is_ending(self) -> bool:
        return self._stops > 0 or self._failure is not None

    def _turn(self) -> None:
        signals, heard = self._wakeups.wait(self._pause())
        self._terminal.look()
        # They first: where all processes get one, the stop of a worker is nothing that another one is started for.
        for number in signals:
            self._receive(number)
        for worker in heard:
            self._hear(worker)
        for worker in [worker for worker in self._workers if worker.look()]:
            self._see_off(worker)
        self._do_what_is_due(monotonic())
        if not self._is_ending:
            self._appoint()
            self._go_on_rolling()
            self._close_unused_listeners()

    def _pause(self) -> float | None:
        """Give the seconds until something is due by itself."""
        times = [slot.restart_at for slot in self._slots]
        times += [time for worker in self._workers for time in (worker.kill_at, worker.late_at, worker.due_at)]
        now = monotonic()
        pauses = [max(0.0, time - now) for time in times if time is not None]
        if (pause := self._terminal.look_again_after) is not None:
            pauses.append(pause)
        return min(pauses, default=None)

    def _do_what_is_due(self, now: float) -> None:
        for worker in self._workers:
            if worker.late_at is not None and worker.late_at <= now:
                worker.late_at = None
                _log.warning("%s (pid %d) is not up yet; what does its start wait for?", worker, worker.pid)
            if worker.kill_at is not None and worker.kill_at <= now:
                _log.error("%s (pid %d) does not stop, and is killed", worker, worker.pid)
                worker.end()
                if self._is_ending and self._failure is None:
                    message = f"{worker} did not stop within {worker.stop_limit:g} s, and was killed"
                    self._failure = {"message": message, "code": 1}
        for slot in self._slots:
            if slot.restart_at is not None and slot.restart_at <= now:
                self._restart(slot)

    # What workers say

    def _start(self, number: int) -> Worker:
        listeners = self._listeners.descriptors()
        worker = Worker.start(number, len(self._slots), self._generation, self._stop_limit, listeners)
        self._workers.append(worker)
        self._wakeups.add(worker)
        _log.debug("%s is started (pid %d)", worker, worker.pid)
        return worker

    def _hear(self, worker: Worker) -> None:
        """Take what a worker has said."""
        try:
            while True:
                for kind, value, _ in worker.channel.receive():
                    self._heed(worker, kind, value)
        except BlockingIOError:
            return
        except EOFError:
            self._wakeups.remove(worker)

    def _heed(self, worker: Worker, kind: str, value: Any) -> None:
        if kind == "listen":
            self._listen(worker, *value)
        elif kind == "failed":
            worker.failure = value
        elif kind == "ready":
            worker.note_ready(**value)
            _log.info("%s is up (pid %d)", worker, worker.pid)
            self._note_ready(worker)
        elif kind == "leaving":
            self._replace(worker)

    def _listen(self, worker: Worker, key: str, address: str) -> None:
        name = listener_name(key, address)
        error, descriptor = None, None
        if self._is_ending:
            error = "the services are being stopped"
        else:
            try:
                descriptor = self._listeners.open(key, address)
            except ConfigError as exc:
                error = str(exc)
        if not worker.tell("listening", [name, error], descriptor=descriptor):
            _log.error("%s (pid %d) cannot be given a socket that it waits for, and is killed", worker, worker.pid)
            worker.end()

    def _note_ready(self, worker: Worker) -> None:
        if self._lines is None:
            self._lines = worker.lines
            for failed in self._first_failures:
                self._lose(self._slots[failed.number - 1], failed)
        if not self._is_announced and all(slot.worker is not None and slot.worker.is_ready for slot in self._slots):
            self._is_announced = True
            self._announce(self._lines)

    # How workers end

    def _see_off(self, worker: Worker) -> None:
        """Do what follows from the end of a worker."""
        self._hear(worker)
        self._wakeups.remove(worker)
        worker.channel.close()
        worker.has_ended = True
        self._workers.remove(worker)
        if worker.is_stopping or self._is_ending:
            self._note_stopped(worker)
            return
        for slot in self._slots:
            if slot.worker is worker:
                self._lose(slot, worker)
            elif slot.successor is worker:
                slot.successor = None

    def _note_stopped(self, worker: Worker) -> None:
        """Tell how a worker that was to stop has ended; one that did not stop in order is a failure of the stop."""
        if worker.was_cut_short:
            end = f"{worker.end_in_words()} before it had stopped"
            _log.error("%s (pid %d) %s", worker, worker.pid, end)
            if self._is_ending and self._failure is None:
                self._failure = worker.failure or {"message": f"{worker} {end}", "code": 1}
            return
        # Of those that have never been up the error tells enough.
        level = logging.INFO if self._stops or self._lines is not None else logging.DEBUG
        _log.log(level, "%s (pid %d) has stopped", worker, worker.pid)

    def _replace(self, worker: Worker) -> None:
        """Have another worker in the place of one that has been told by somebody else to stop; that is no failure."""
        for slot in self._slots:
            if slot.worker is worker and not self._is_ending and not worker.is_stopping:
                _log.info("%s (pid %d) was told to stop; another is started at once", worker, worker.pid)
                worker.note_stopping()
                self._restart(slot)

    def _lose(self, slot: Slot, worker: Worker) -> None:
        """Have somebody else in the place of a worker that has ended by itself."""
        if self._lines is None:
            slot.worker = None
            self._fail_first(worker)
            return
        pause = slot.empty(worker, monotonic())
        _log.error("%s (pid %d) %s; another is started in %g s", worker, worker.pid, worker.end_in_words(), pause)

    def _fail_first(self, worker: Worker) -> None:
        """Note that a worker has ended while none has been up; a mistake, or the end of the last one, ends all."""
        self._first_failures.append(worker)
        first = self._first_failures[0]
        told = [worker.failure for worker in self._first_failures if worker.failure is not None]
        if worker.failure is not None and worker.failure["code"] == _MISTAKE:
            # It is one for all.
            self._failure = worker.failure
            for other in self._workers:
                other.kill()
        elif len(self._first_failures) == len(self._slots):
            silent = {"message": f"{first} {first.end_in_words()} before it was up", "code": max(1, first.exit_code)}
            self._failure = told[0] if told else silent
        elif worker is first:
            _log.warning("%s (pid %d) %s; the others are about to start", worker, worker.pid, worker.end_in_words())

    def _restart(self, slot: Slot) -> None:
        try:
            slot.fill(self._start(slot.number))
        except OSError as exc:
            pause = slot.empty(None, monotonic())
            _log.error("worker %d cannot be started: %s; it is tried again in %g s", slot.number, exc, pause)

    # What the supervisor is told

    def _receive(self, number: int) -> None:
        if number in _STOPS:
            self._note_stop()
        elif number == signal.SIGHUP and self._terminal.has_just_gone():
            # Unless somebody has seen to it, by nohup, that this ends nothing.
            if not self._wakeups.was_ignored(signal.SIGHUP):
                self._note_stop()
        elif number == signal.SIGHUP and not self._is_ending:
            self._generation += 1

    def _note_stop(self) -> None:
        self._stops += 1
        if self._stops == 1:
            self._stop()
        elif self._stops == 2:
            self._kill()

    def _stop(self) -> None:
        """Stop all in order; nobody listens from now on."""
        _log.info("stopping all workers")
        self._listeners.keep(())
        for slot in self._slots:
            slot.restart_at = None
        for worker in self._workers:
            worker.stop(others_serve_on=False)

    def _kill(self) -> None:
        for worker in self._workers:
            worker.kill()
        self._failure = {"message": "killed by a second signal; unfinished work went back to its queues", "code": 1}

    def _appoint(self) -> None:
        """Have one worker, and no other before it has ended, do what only one is to do."""
        if any(worker.leads for worker in self._workers):
            return
        ready = [worker for worker in self._workers if worker.ready_at is not None and not worker.is_stopping]
        # One that no rolling restart is about to stop, and of these the one that has been there longest.
        ready.sort(key=lambda worker: (-worker.generation, worker.ready_at))
        # The first that can be told.
        any(worker.lead() for worker in ready)

    def _go_on_rolling(self) -> None:
        if self._roll is None and self._rolled != self._generation and self._lines is not None:
            self._roll = roll(self._slots, self._start, self._start_limit, lambda: self._generation)
        if self._roll is not None and next(self._roll, _AT_AN_END) is _AT_AN_END:
            # However it has ended: it has seen to all that were wanted until now.
            self._roll, self._rolled, self._may_close_listeners = None, self._generation, True

    def _close_unused_listeners(self) -> None:
        """Close what no worker uses after a restart, once all are there: those who are not yet may want it."""
        is_full = all(slot.worker is not None and slot.worker.is_ready for slot in self._slots)
        if self._roll is None and self._may_close_listeners and is_full:
            self._may_close_listeners = False
            self._listeners.keep([name for worker in self._workers for name in worker.listeners])
