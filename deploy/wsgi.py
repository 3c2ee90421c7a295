"""The app as it is deployed: gunicorn, granian, pyvoy and ``flask --app wsgi scm worker`` take it from here.

Every server writes a line for each call to standard error, whatever it does with its own log.
"""

import logging.config

from flask_migrate import Migrate

from example_app import create_app
from flask_grpcweb_scm.scm import MIGRATIONS, db

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
