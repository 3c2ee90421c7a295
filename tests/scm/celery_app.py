"""An app and its Celery, for workers of their own processes, configured by environment variables."""

from __future__ import annotations

import os

from flask_grpcweb_scm.scm.celery import add_jobs
from tests.scm.served_app import create_app

flask_app = create_app()
flask_app.config["CELERY"] = {"broker_url": os.environ["BROKER_URL"], "task_ignore_result": True}
celery_app = add_jobs(flask_app)
