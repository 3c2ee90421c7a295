"""Calls as others see them: the interface of observers, traces and metrics. No Flask."""

from flask_grpcweb_scm.observe.calls import Observation, Observed, Observer, Outcome, trace_id
from flask_grpcweb_scm.observe.work import observed_work, tell_of_cache

__all__ = ["Observation", "Observed", "Observer", "Outcome", "observed_work", "tell_of_cache", "trace_id"]
