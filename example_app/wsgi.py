"""The app for servers that call no function for it: ``make run-grpc``."""

from example_app import create_app

app = create_app()
