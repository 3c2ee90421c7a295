"""Celery as it is deployed in place of ``flask scm worker``: ``celery --app celery_app worker`` takes it from here."""

from wsgi import app as flask_app

from flask_grpcweb_scm.scm.celery import add_jobs

celery_app = add_jobs(flask_app)
