"""Calls as others see them: the interface of observers, traces and metrics. No Flask."""

from flask_grpcweb_scm.observe.calls import Observation, Observed, Observer, Outcome

__all__ = ["Observation", "Observed", "Observer", "Outcome"]
