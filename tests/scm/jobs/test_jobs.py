"""Jobs on both databases: due, claimed by one worker at a time, and due again whatever happens."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import RpcError, StatusCode
from flask_grpcweb_scm.scm import Job, db
from flask_grpcweb_scm.scm.database.db import database_now
from flask_grpcweb_scm.scm.jobs import JobFailed, Kind, Lease, LeaseEnded, NoSubject, figures, make_due, run_due
from flask_grpcweb_scm.scm.providers import ProviderRateLimited
from flask_grpcweb_scm.scm.sources.git import GitError

HOUR = 3600.0
PATIENCE = 60.0
GONE = sa.exc.OperationalError("SELECT 'secret'", {}, Exception("gone\nsecret"), connection_invalidated=True)


def kinds(run: Callable[[int, Lease], object], interval: float = HOUR) -> dict[str, Kind]:
    return {"work": Kind(run, lambda: interval)}


def due(app: Flask, *subjects: int, after: float = 0.0) -> None:
    with app.app_context():
        for subject in subjects:
            make_due("work", subject, after=after)
        db.session.commit()


def job(app: Flask, subject: int = 1) -> Job:
    """The row as it is now."""
    with app.app_context():
        row = db.session.scalars(sa.select(Job).filter_by(subject_id=subject)).one()
        db.session.expunge(row)
        return row


def seconds_left(app: Flask, subject: int = 1) -> float:
    with app.app_context():
        row = db.session.scalars(sa.select(Job).filter_by(subject_id=subject)).one()
        return (row.due_at - database_now()).total_seconds()


def change(app: Flask, **values: Any) -> None:
    with app.app_context():
        db.session.execute(sa.update(Job).values(values))
        db.session.commit()


def run(app: Flask, work: Callable[[int, Lease], object], *only: sa.ColumnElement[bool], **how: Any) -> int:
    with app.app_context():
        return run_due(kinds(work), *only, **how)


def test_a_job_is_one_row_and_runs_once_however_often_it_is_made_due(app: Flask) -> None:
    ran: list[int] = []
    due(app, 1, 2, 1)
    due(app, 1, after=HOUR)
    due(app, 3, after=HOUR)
    assert run(app, lambda subject, lease: ran.append(subject)) == len(ran)
    assert ran == [1, 2]
    row = job(app)
    assert (row.attempts, row.error, row.claimed_until, row.requests) == (0, "", None, 2)
    assert row.succeeded_at is not None
    assert 0.8 * HOUR < seconds_left(app) < 1.2 * HOUR
    assert run(app, lambda subject, lease: ran.append(subject)) == 0


def test_nothing_shortens_a_wait_that_a_provider_has_demanded(app: Flask) -> None:
    def limited(subject: int, lease: Lease) -> None:
        if subject == 2:  # made due while it runs
            due(app, subject)
        raise ProviderRateLimited("slow down", provider="github", retry_after=500)

    due(app, 1, 2)
    run(app, limited)
    for subject in (1, 2):
        assert 490 < seconds_left(app, subject) <= 500
        for _ in range(2):
            due(app, subject)
            due(app, subject, after=100)
            assert 490 < seconds_left(app, subject) <= 500
    assert run(app, limited) == 0
    with app.app_context():
        promised, now = make_due("work", 1), database_now()
        assert 490 < (promised - now).total_seconds() <= 500
        db.session.commit()
    # When it is over, all is as before.
    change(app, due_at=sa.text("date_added"), not_before=sa.text("date_added"))
    assert run(app, lambda subject, lease: None) == len((1, 2))
    assert job(app).not_before is None
    due(app, 1)
    assert seconds_left(app) <= 0


def test_who_is_patient_leaves_a_job_that_has_failed_to_its_next_attempt(app: Flask) -> None:
    def fail(subject: int, lease: Lease) -> None:
        raise JobFailed("no", retry_after=None)

    def patiently() -> float:
        with app.app_context():
            when, now = make_due("work", 1, is_patient=True), database_now()
            db.session.commit()
            assert when == db.session.scalars(sa.select(Job.due_at)).one()
            return (when - now).total_seconds()

    assert patiently() <= 0
    run(app, fail)
    assert 4 < patiently() <= 10
    assert run(app, fail) == 0
    due(app, 1)
    assert run(app, lambda subject, lease: None) == 1
    assert seconds_left(app) > 0.8 * HOUR
    assert patiently() <= 0


def test_a_job_that_fails_waits_also_when_it_was_made_due_meanwhile(app: Flask) -> None:
    def fail(subject: int, lease: Lease) -> None:
        due(app, subject)
        raise JobFailed("no")

    due(app, 1)
    assert run(app, fail) == 1
    assert 4 < seconds_left(app) <= 10


def test_some_of_the_jobs(app: Flask) -> None:
    ran: list[int] = []
    due(app, 1, 2, 3, 4)
    assert run(app, lambda subject, lease: ran.append(subject), Job.subject_id != 1, limit=2) == len(ran)
    assert ran == [2, 3]
    with app.app_context():
        assert run_due({"other": Kind(lambda subject, lease: None, lambda: HOUR)}) == 0


class Broken(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "text", "shortest", "longest"),
    [
        (JobFailed("no folder"), "no folder", 5, 10),
        (JobFailed("later", retry_after=500), "later", 499, 500),
        (JobFailed("far too late", retry_after=1e9), "far too late", 86399, 86400),
        (GitError("git\x1b[2J failed"), r"git\x1b[2J failed", 5, 10),
        (
            ProviderRateLimited("slow down", provider="github", retry_after=77, private="api.github.com: slow down"),
            "api.github.com: slow down", 76, 77,
        ),
        (RpcError(StatusCode.UNAVAILABLE, "not now"), "not now", 5, 10),
        (Broken("secret"), "Broken in the worker; its log has more", 5, 10),
        (sa.exc.ProgrammingError("SELECT 'secret'", {}, Exception("no\nsecret")), "the database failed: no", 5, 10),
        (GONE, "the database failed: gone", 5, 10),
    ],
)  # fmt: skip
def test_a_job_that_fails_is_due_again(
    app: Flask, error: Exception, text: str, shortest: float, longest: float, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(subject: int, lease: Lease) -> None:
        raise error

    lines: list[str] = []
    due(app, 1)
    caplog.set_level(logging.ERROR)
    run(app, fail, note=lines.append)
    row = job(app)
    assert (row.error, row.attempts, row.succeeded_at, row.claimed_until) == (text, 1, None, None)
    assert shortest - 1 < seconds_left(app) <= longest
    assert text in lines[0]
    assert ("work 1 failed" in caplog.text) == isinstance(error, (Broken, sa.exc.ProgrammingError))


def test_the_more_often_it_fails_the_longer_it_waits_until_it_succeeds(app: Flask) -> None:
    def fail(subject: int, lease: Lease) -> None:
        raise JobFailed("no")

    due(app, 1)
    waits = []
    for _ in range(12):
        change(app, due_at=sa.text("date_added"))
        run(app, fail)
        waits.append(seconds_left(app))
    assert waits[0] < 10 < waits[3] < waits[5] < waits[7]
    assert 1700 < waits[-1] <= HOUR
    due(app, 1)
    run(app, lambda subject, lease: None)
    assert (job(app).attempts, job(app).error) == (0, "")


def test_what_becomes_due_while_it_runs_is_done_once_more(app: Flask) -> None:
    ran: list[int] = []

    def work(subject: int, lease: Lease) -> None:
        ran.append(subject)
        if len(ran) == 1:
            make_due("work", subject)
            db.session.commit()

    due(app, 1)
    assert run(app, work) == len(ran)
    assert ran == [1, 1]


def test_a_job_without_a_subject_goes_unless_it_is_due_again(app: Flask) -> None:
    def gone(subject: int, lease: Lease) -> None:
        if subject == 2 and lease.requests == 0:
            make_due("work", subject)
            db.session.commit()
        raise NoSubject

    def gone_once(subject: int, lease: Lease) -> None:
        if lease.requests == 0:
            gone(subject, lease)

    due(app, 1, 2)
    run(app, gone_once)
    with app.app_context():
        assert db.session.scalars(sa.select(Job.subject_id)).all() == [2]


def test_a_worker_whose_lease_is_over_completes_nothing(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """As one whose machine was asleep."""
    ran: list[str] = []

    def first(subject: int, lease: Lease) -> None:
        change(app, claimed_until=sa.text("date_added"), due_at=sa.text("date_added"))

        def second(subject: int, lease: Lease) -> None:
            ran.append("second")
            raise JobFailed("the second one's error")

        run(app, second)
        ran.append("first")

    due(app, 1)
    lines: list[str] = []
    run(app, first, note=lines.append)
    assert ran == ["second", "first"]
    assert lines == ["work 1: its lease was over before its end, so that it is done again"]
    row = job(app)
    assert (row.error, row.attempts, row.claims, row.succeeded_at) == ("the second one's error", 2, 2, None)
    assert "has been claimed by another worker" in caplog.text


def test_a_lease_is_renewed_while_the_job_runs_and_lost_when_another_has_it(app: Flask) -> None:
    app.extensions["grpcweb_scm"].settings.__dict__["scm_job_lease"] = 0.6
    ends: list[object] = []

    def work(subject: int, lease: Lease) -> None:
        first = job(app).claimed_until
        until = time.monotonic() + PATIENCE
        while (renewed := job(app).claimed_until) == first and time.monotonic() < until:
            lease.check()
            time.sleep(0.02)
        ends.extend([first, renewed])
        change(app, claims=Job.claims + 1, claimed_until=sa.text("date_added"))
        while time.monotonic() < until:
            lease.check()
            time.sleep(0.02)

    due(app, 1)
    run(app, work, limit=1)
    assert ends[0] < ends[1]  # type: ignore[operator]
    row = job(app)
    assert (row.claims, row.error, row.attempts) == (2, "", 1), "the other one's row stays as it is"


def test_a_lease_that_cannot_be_renewed_ends_whatever_the_reason(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """The app's own functions run in the thread that renews it, too."""
    app.extensions["grpcweb_scm"].settings.__dict__["scm_job_lease"] = 0.3
    worker = threading.current_thread()

    @app.teardown_appcontext
    def fail(error: BaseException | None) -> None:
        if threading.current_thread() is not worker:
            raise RuntimeError("of the app")

    def work(subject: int, lease: Lease) -> None:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            lease.check()
            time.sleep(0.02)

    due(app, 1)
    lines: list[str] = []
    run(app, work, limit=1, note=lines.append)
    assert lines == ["work 1: stopped, and due again"]
    assert "the lease of job 1 was not renewed: RuntimeError" in caplog.text


def test_a_worker_that_stops_leaves_its_job_to_others(app: Flask) -> None:
    stop = threading.Event()

    def work(subject: int, lease: Lease) -> None:
        stop.set()
        lease.check()

    due(app, 1, 2)
    lines: list[str] = []
    assert run(app, work, stop=stop, note=lines.append) == 1
    row = job(app)
    assert (row.attempts, row.claimed_until, row.error) == (0, None, "")
    assert seconds_left(app) <= 0
    assert lines == ["work 1: stopped, and due again"]
    assert run(app, lambda subject, lease: None) == 2


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_the_end_of_a_thread_releases_the_job(app: Flask, ending: type[BaseException]) -> None:
    def work(subject: int, lease: Lease) -> None:
        db.session.execute(sa.update(Job).values(error="not committed"))
        raise ending

    due(app, 1)
    with pytest.raises(ending):
        run(app, work)
    row = job(app)
    assert (row.attempts, row.claimed_until, row.error) == (0, None, "")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lease of job")]


def test_a_job_that_kills_its_worker_does_not_keep_others_waiting(app: Flask) -> None:
    """It is claimed first, for it is due longest; then others come before it, and it comes more and more rarely."""
    due(app, 1, after=-2.0)
    due(app, 2, after=-1.0)

    class Killed(BaseException):
        pass

    order: list[int] = []

    def work(subject: int, lease: Lease) -> None:
        order.append(subject)
        if subject == 1:
            # As after a kill: nobody completes this claim.
            lease.claims = -1
            raise Killed

    for _ in range(2):
        with pytest.raises(Killed):
            run(app, work)
        change(app, claimed_until=sa.text("date_added"))
    assert order == [1, 2, 1]
    assert run(app, work) == 0
    assert job(app).attempts == 2
    assert seconds_left(app) > 1


def test_many_workers_run_each_job_once_and_one_at_a_time(app: Flask) -> None:
    ran: Counter[int] = Counter()
    active: Counter[int] = Counter()
    together: list[int] = []
    lock = threading.Lock()

    def work(subject: int, lease: Lease) -> None:
        with lock:
            active[subject] += 1
            together.extend([subject] if active[subject] > 1 else [])
            ran[subject] += 1
        time.sleep(0.005)
        with lock:
            active[subject] -= 1

    subjects = range(1, 41)
    due(app, *subjects)
    with ThreadPoolExecutor(6) as pool:
        counts = [*pool.map(lambda _: run(app, work), range(6))]
    assert sum(counts) == len(subjects)
    assert ran == Counter(subjects)
    assert together == []


def test_many_make_the_same_job_due(app: Flask) -> None:
    with ThreadPoolExecutor(8) as pool:
        [*pool.map(lambda _: due(app, 1), range(40))]
    assert job(app).requests == 39
    assert run(app, lambda subject, lease: None) == 1


def test_jobs_of_an_organization_go_with_it(app: Flask, organization: int) -> None:
    with app.app_context():
        make_due("work", 1, organization_id=organization)
        make_due("work", 2)
        db.session.commit()
        db.session.execute(sa.text("DELETE FROM scm_organization"))
        db.session.commit()
        assert db.session.scalars(sa.select(Job.subject_id)).all() == [2]


def test_the_clock_is_the_databases(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    due(app, 1)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    with app.app_context():
        now = database_now()
    assert run(app, lambda subject, lease: None) == 1
    assert abs(job(app).due_at - now) < timedelta(seconds=1.2 * HOUR)


def test_a_lease_that_is_over_stops_its_job() -> None:
    lease = Lease(1, "work", 1, 1, 0, 0, print, threading.Event())
    lease.check()
    lease.ended.set()
    with pytest.raises(LeaseEnded):
        lease.check()


def test_figures(app: Flask) -> None:
    def numbers() -> list[float]:
        with app.app_context():
            return [round(number) for _, number in figures().values()]

    def fail(subject: int, lease: Lease) -> None:
        assert numbers() == [2, 0, 1, 100]
        raise JobFailed("no")

    due(app, 1, 2)
    due(app, 3, after=HOUR)
    with app.app_context():
        long_ago = database_now() - timedelta(seconds=100)
        db.session.execute(sa.update(Job).where(Job.subject_id != 3).values(due_at=long_ago))
        db.session.commit()
    assert numbers() == [2, 0, 0, 100]
    run(app, fail, limit=1)
    assert numbers() == [1, 1, 0, 100]
