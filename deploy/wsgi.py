"""The app as it is deployed: gunicorn, granian, pyvoy and ``flask --app wsgi scm worker`` take it from here.

Every server writes a line for each call to standard error, whatever it does with its own log.
"""

import logging.config
import os
import sys
from pathlib import Path

# A process stays with its release, also for what it imports later: /opt/scm/current may lead to another one by then.
sys.path[:] = [os.path.realpath(folder) for folder in sys.path]
sys.path.append(str(Path(__file__).resolve().parents[1]))

from flask_migrate import Migrate  # noqa: E402

from example_app import create_app  # noqa: E402
from flask_grpcweb_scm.scm import MIGRATIONS, db  # noqa: E402

logging.config.dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {"flask_grpcweb_scm": {"level": "INFO"}},
    }
)

app = create_app()
Migrate(app, db, directory=MIGRATIONS)
